"""From the types of a method's request and response to bytes and back: pydantic, protobuf, bytes, text, nothing.

What does not validate is refused with the paths of the fields, never with what they hold: it is patient data.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar, cast, get_args

from google.protobuf.message import DecodeError, Message
from pydantic import BaseModel, ValidationError
from pydantic_core.core_schema import ErrorType

from bus.services.protocol import InvalidRequest
from schemas.errors import MeshError

JSON: Final = "application/json"
PROTOBUF: Final = "application/x-protobuf"
BYTES: Final = "application/octet-stream"
TEXT: Final = "text/plain"

_MAX_FIELDS: Final = 20
_INVALID: Final = "invalid_body"
_KNOWN_ERRORS: Final = frozenset(get_args(ErrorType))

T = TypeVar("T")
ModelT = TypeVar("ModelT", bound=BaseModel)
MessageT = TypeVar("MessageT", bound=Message)


class DeclarationError(MeshError, TypeError):
    """A service or a method is declared in a way that cannot be served."""

    code: ClassVar[str] = "declaration"


class Codec(Protocol[T]):
    """One type as it travels."""

    @property
    def content_type(self) -> str:
        """What goes into `Content.type`."""
        ...

    @property
    def schema(self) -> str:
        """JSON schema or protobuf message name, for discovery; empty when there is none."""
        ...

    def encode(self, value: T) -> bytes:
        """To bytes. Raises `TypeError` for a value of another type."""
        ...

    def decode(self, raw: bytes) -> T:
        """From bytes. Raises `InvalidRequest` with paths of fields, without their values."""
        ...


@dataclass(frozen=True, slots=True)
class ModelCodec(Generic[ModelT]):
    """A pydantic model as JSON."""

    model: type[ModelT]
    names: frozenset[str] = field(repr=False)
    """Names of fields of the model and of those inside it: all that is ever said of a body."""
    schema: str = field(repr=False)
    content_type: str = JSON

    def encode(self, value: ModelT) -> bytes:
        """See `Codec.encode`."""
        _check_type(value, self.model)
        return value.model_dump_json(by_alias=True).encode()

    def decode(self, raw: bytes) -> ModelT:
        """See `Codec.decode`."""
        try:
            return self.model.model_validate_json(raw)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            detail = "; ".join(self._path(one["loc"], one["type"]) for one in found[:_MAX_FIELDS])
        # raised outside of the handler: the error's own words hold what was sent
        raise InvalidRequest(_INVALID, detail)

    def _path(self, place: tuple[int | str, ...], kind: str) -> str:
        """A field's path and what is wrong with it. A key that the sender chose is told as `*`."""
        parts = [str(p) if isinstance(p, int) or p in self.names else "*" for p in place]
        return f"{'.'.join(parts) or 'body'}: {kind if kind in _KNOWN_ERRORS else 'invalid'}"


@dataclass(frozen=True, slots=True)
class MessageCodec(Generic[MessageT]):
    """A protobuf message in its binary form."""

    message: type[MessageT]
    schema: str
    content_type: str = PROTOBUF

    def encode(self, value: MessageT) -> bytes:
        """See `Codec.encode`."""
        _check_type(value, self.message)
        return value.SerializeToString()

    def decode(self, raw: bytes) -> MessageT:
        """See `Codec.decode`."""
        try:
            return self.message.FromString(raw)
        except DecodeError:
            pass
        raise InvalidRequest(_INVALID, f"not the encoding of {self.schema}")


@dataclass(frozen=True, slots=True)
class BytesCodec:
    """Bytes as they are."""

    content_type: str = BYTES
    schema: str = ""

    def encode(self, value: bytes) -> bytes:
        """See `Codec.encode`."""
        _check_type(value, bytes)
        return value

    def decode(self, raw: bytes) -> bytes:
        """See `Codec.decode`."""
        return raw


@dataclass(frozen=True, slots=True)
class TextCodec:
    """Text as UTF-8."""

    content_type: str = TEXT
    schema: str = ""

    def encode(self, value: str) -> bytes:
        """See `Codec.encode`."""
        _check_type(value, str)
        return value.encode()

    def decode(self, raw: bytes) -> str:
        """See `Codec.decode`."""
        try:
            return raw.decode()
        except UnicodeDecodeError:
            pass
        raise InvalidRequest(_INVALID, "not UTF-8")


@dataclass(frozen=True, slots=True)
class NothingCodec:
    """No body."""

    content_type: str = BYTES
    schema: str = ""

    def encode(self, value: None) -> bytes:
        """See `Codec.encode`."""
        _check_type(value, type(None))
        return b""

    def decode(self, raw: bytes) -> None:
        """See `Codec.decode`."""
        if raw:
            raise InvalidRequest(_INVALID, "no body is taken")


def codec_for(kind: type[T]) -> Codec[T]:
    """The codec of a pydantic model, a protobuf message, `bytes`, `str` or `NoneType` (also written `None`).

    Raises `DeclarationError` for any other type.
    """
    wanted: object = type(None) if kind is None else kind
    return cast("Codec[T]", _codec(wanted))


@lru_cache(maxsize=1024)
def _codec(kind: object) -> Codec[Any]:
    plain = _PLAIN.get(kind)
    if plain is not None:
        return plain
    if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not BaseModel:
        shape = kind.model_json_schema()
        return ModelCodec(kind, frozenset(_names(shape)), json.dumps(shape, separators=(",", ":")))
    if isinstance(kind, type) and issubclass(kind, Message) and kind is not Message:
        return MessageCodec(kind, kind.DESCRIPTOR.full_name)
    raise DeclarationError(
        f"{kind!r} cannot travel: use a pydantic model, a protobuf message, bytes, str or None"
    )


_PLAIN: Final[Mapping[object, Codec[Any]]] = {
    bytes: BytesCodec(),
    str: TextCodec(),
    type(None): NothingCodec(),
}


def _names(shape: object) -> Iterable[str]:
    """Every property name in a JSON schema."""
    if isinstance(shape, Mapping):
        properties = shape.get("properties")
        if isinstance(properties, Mapping):
            yield from properties
        for inside in shape.values():
            yield from _names(inside)
    elif isinstance(shape, list):
        for inside in shape:
            yield from _names(inside)


def _check_type(value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"a {kind.__name__} is needed, not a {type(value).__name__}")


__all__ = [
    "BYTES",
    "JSON",
    "PROTOBUF",
    "TEXT",
    "BytesCodec",
    "Codec",
    "DeclarationError",
    "MessageCodec",
    "ModelCodec",
    "NothingCodec",
    "TextCodec",
    "codec_for",
]
