"""A declared service as its callers see it: the same methods, called over the mesh."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from bus.services.codecs import codec_for
from bus.services.declare import Endpoint, endpoints_of, offered

AskT = Callable[..., Awaitable[bytes]]


class ServiceClient:
    """Calls the endpoints of a class declared with `@service`; made by `Mesh.client`.

    Each endpoint is a method here under its Python name: `await client.free(ward)`; options of the call are keywords:
    `timeout_s`, `key` (bytes that keep calls at one instance), `hedge`, `priority`.
    """

    def __init__(self, kind: type, ask: AskT) -> None:
        self._kind = kind
        for name, declared in endpoints_of(kind).items():
            setattr(self, name, _method(kind, declared, ask))

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        known = ", ".join(sorted(endpoints_of(self._kind)))
        raise AttributeError(f"{self._kind.__name__} has no endpoint {name}; it has {known}")


def _method(kind: type, declared: Endpoint, ask: AskT) -> Callable[..., Awaitable[Any]]:
    name, version = offered(kind)

    async def call(request: Any = None, **options: Any) -> Any:  # noqa: ANN401 - typed by the class declared
        answer = await ask(
            name,
            declared.name,
            declared.request.content_type,
            declared.request.encode(request),
            version=int(version.partition(".")[0]),
            idempotent=options.pop("idempotent", declared.is_idempotent),
            **options,
        )
        return declared.response.decode(answer)

    return call


def encoded(value: object) -> tuple[str, bytes]:
    """Content type and bytes of a request given by hand. Raises `DeclarationError`."""
    codec = codec_for(type(value))
    return codec.content_type, codec.encode(value)


__all__ = ["AskT", "ServiceClient", "encoded"]
