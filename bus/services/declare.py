"""Services as classes: `@service` on the class, `@endpoint` on its async methods; types come from the annotations.

@service("bed-manager", version="1.2.0")
class BedManager:
    @endpoint(idempotent=True)
    async def free(self, request: Ward, call: CallContext) -> Beds: ...
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast, overload

from bus.services.adr32 import check_version
from bus.services.codecs import Codec, DeclarationError, codec_for
from bus.services.protocol import CallContext, Handler, Method, Offer
from schemas import subjects

_ENDPOINT: Final = "__medmesh_endpoint__"
_SERVICE: Final = "__medmesh_service__"
_MAX_PARAMETERS: Final = 3  # self, request, call

ClassT = TypeVar("ClassT", bound=type)
FunctionT = TypeVar("FunctionT", bound=Callable[..., Awaitable[Any]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A declared method."""

    name: str
    request: Codec[Any]
    response: Codec[Any]
    takes_call: bool
    is_idempotent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declared:
    name: str
    version: str
    description: str
    zone: str
    weight: int
    metadata: Mapping[str, str] = field(repr=False)
    takes_plain: bool


def service(
    name: str,
    *,
    version: str,
    description: str = "",
    zone: str = "",
    weight: int = 100,
    metadata: Mapping[str, str] = MappingProxyType({}),
    takes_plain: bool = False,
) -> Callable[[ClassT], ClassT]:
    """Declare a class as a service; the rest is as in `Offer`. The description defaults to the docstring's first line.

    Raises `SubjectError` for a name, `ConfigurationError` for a version, that cannot be.
    """
    subjects.token(name, what="service")
    check_version(version)

    def declare(kind: ClassT) -> ClassT:
        if not _endpoints(kind):
            raise DeclarationError(f"{kind.__name__} has no method with @endpoint")
        words = description or (inspect.getdoc(kind) or "").partition("\n")[0]
        declared = _Declared(
            name=name,
            version=version,
            description=words,
            zone=zone,
            weight=weight,
            metadata=dict(metadata),
            takes_plain=takes_plain,
        )
        setattr(kind, _SERVICE, declared)
        return kind

    return declare


@overload
def endpoint(function: FunctionT) -> FunctionT: ...


@overload
def endpoint(*, name: str = "", idempotent: bool = False) -> Callable[[FunctionT], FunctionT]: ...


def endpoint(
    function: FunctionT | None = None, *, name: str = "", idempotent: bool = False
) -> FunctionT | Callable[[FunctionT], FunctionT]:
    """Declare an async method `(self, request: Model[, call: CallContext]) -> Model` as an endpoint.

    `name` is its token in subjects (default: the method's name); `idempotent` says that acting twice does no harm, so
    that callers may try again when an answer is lost. Raises `DeclarationError`, `SubjectError`.
    """

    def declare(function: FunctionT) -> FunctionT:
        setattr(function, _ENDPOINT, _declared(function, name, idempotent))
        return function

    return declare if function is None else declare(function)


def endpoints_of(kind: type) -> Mapping[str, Endpoint]:
    """The endpoints of a declared class by the names of its methods. Raises `DeclarationError`."""
    if not isinstance(getattr(kind, _SERVICE, None), _Declared):
        raise DeclarationError(f"{kind.__name__} is no service: declare it with @service")
    return _endpoints(kind)


def offered(kind: type) -> tuple[str, str]:
    """Name and version of a declared class. Raises `DeclarationError`."""
    endpoints_of(kind)
    declared = cast("_Declared", getattr(kind, _SERVICE))
    return declared.name, declared.version


def offer_of(instance: object) -> Offer:
    """What an object of a declared class offers, ready for `Server`. Raises `DeclarationError`."""
    kind = type(instance)
    endpoints = endpoints_of(kind)
    declared = cast("_Declared", getattr(kind, _SERVICE))
    return Offer(
        name=declared.name,
        version=declared.version,
        methods=tuple(_method(instance, name, one) for name, one in endpoints.items()),
        description=declared.description,
        zone=declared.zone,
        weight=declared.weight,
        metadata=declared.metadata,
        takes_plain=declared.takes_plain,
    )


def _method(instance: object, attribute: str, declared: Endpoint) -> Method:
    return Method(
        name=declared.name,
        handler=_handler(getattr(instance, attribute), declared),
        request_type=declared.request.content_type,
        response_type=declared.response.content_type,
        request_schema=declared.request.schema,
        response_schema=declared.response.schema,
        is_idempotent=declared.is_idempotent,
    )


def _handler(bound: Callable[..., Awaitable[Any]], declared: Endpoint) -> Handler:
    decode, encode = declared.request.decode, declared.response.encode
    if declared.takes_call:

        async def handle(body: bytes, call: CallContext) -> bytes:
            return encode(await bound(decode(body), call))

    else:

        async def handle(body: bytes, call: CallContext) -> bytes:
            return encode(await bound(decode(body)))

    return handle


def _endpoints(kind: type) -> Mapping[str, Endpoint]:
    found: dict[str, Endpoint] = {}
    for name in dir(kind):
        declared = getattr(inspect.getattr_static(kind, name, None), _ENDPOINT, None)
        if isinstance(declared, Endpoint):
            found[name] = declared
    names = [one.name for one in found.values()]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise DeclarationError(f"{kind.__name__} declares {', '.join(sorted(twice))} twice")
    return found


def _declared(function: Callable[..., Any], name: str, idempotent: bool) -> Endpoint:
    where = function.__qualname__
    if not inspect.iscoroutinefunction(function):
        raise DeclarationError(f"{where} is not async: an endpoint must not block its neighbours")
    hints = _annotations(function)
    parameters = list(inspect.signature(function).parameters.values())
    if not 2 <= len(parameters) <= _MAX_PARAMETERS or any(
        one.kind is not one.POSITIONAL_OR_KEYWORD for one in parameters
    ):
        raise DeclarationError(f"{where} must take (self, request) or (self, request, call)")
    takes_call = len(parameters) == _MAX_PARAMETERS
    if takes_call and hints.get(parameters[2].name) is not CallContext:
        raise DeclarationError(f"{where}: {parameters[2].name!r} must be annotated as CallContext")
    try:
        return Endpoint(
            name=subjects.token(name or function.__name__, what="endpoint"),
            request=codec_for(_hint(hints, parameters[1].name)),
            response=codec_for(_hint(hints, "return")),
            takes_call=takes_call,
            is_idempotent=idempotent,
        )
    except DeclarationError as error:
        raise DeclarationError(f"{where}: {error}") from None


def _hint(hints: Mapping[str, Any], name: str) -> type[Any]:
    if name not in hints:
        raise DeclarationError(f"{name!r} has no type annotation")
    return cast("type[Any]", hints[name])


def _annotations(function: Callable[..., Any]) -> Mapping[str, Any]:
    try:
        return inspect.get_annotations(function, eval_str=True)
    except NameError as error:
        raise DeclarationError(
            f"{function.__qualname__}: {error.name!r} in its annotations is not known; "
            "define it in the module, above the class"
        ) from None


__all__ = ["Endpoint", "endpoint", "endpoints_of", "offer_of", "offered", "service"]
