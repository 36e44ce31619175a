"""FHIR JSON to the bytes of its protobuf message."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import msgspec
from google.protobuf.message import DecodeError, EncodeError, Message

from schemas.fhir.careful import CarefulFitter, Fitted
from schemas.fhir.catalogue import Catalogue
from schemas.fhir.fallback import CannotCarry, FallBack
from schemas.fhir.strict import Base64, strict_types
from schemas.fhir.text import Json, parse, parse_object, write

MAX_DEPTH: Final = 100
"""Messages in messages, the limit of protobuf's parsers. A resource in a box starts at 0 again."""

_NUMBER_STARTS: Final = b"-0123456789"
_FIRST_KEY: Final = re.compile(rb'\s*\{\s*"resourceType"\s*:\s*"([A-Za-z]+)"')


class _Typed(msgspec.Struct, rename="camel"):
    resource_type: str


class _Type(NamedTuple):
    message: type[Message]
    decoder: msgspec.json.Decoder[msgspec.Struct]


_typed: Final = msgspec.json.Decoder(_Typed)


def resource_type_of(raw: bytes) -> str:
    """The `resourceType` of a JSON text; empty when there is none, or no JSON at all."""
    found = _FIRST_KEY.match(raw)
    if found:
        return found[1].decode()
    try:
        return _typed.decode(raw).resource_type
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


class Encoder:
    """Writes resources of one release. `careful` counts those that did not fit the schema at once."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._strict = strict_types(catalogue.release)
        self._fitter = CarefulFitter(catalogue, self._box_value)
        self._types: dict[str, _Type] = {}
        self.careful = 0

    @property
    def misfits(self) -> int:
        """How many messages have needed `unknown_json`."""
        return self._fitter.misfits

    def encode(self, name: str, raw: bytes) -> bytes:
        """The serialised message of a resource of the release, given its type and its JSON.

        Raises `MalformedFhir` for what is no JSON, and `CannotCarry`.
        """
        kind = self._types.get(name) or self._load(name)
        try:
            struct = kind.decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self.encode_carefully(name, parse_object(raw))
        fields = msgspec.to_builtins(struct, builtin_types=(bytes,), enc_hook=self._carried)
        del fields["resourceType"]
        try:
            body = _serialised(kind.message, fields)
        except (TypeError, ValueError):  # no number where a decimal belongs, or one for a resource
            return self.encode_carefully(name, parse_object(raw))
        if raw.count(b"{") > MAX_DEPTH:
            _check_depth(kind.message, body)
        return body

    def _load(self, name: str) -> _Type:
        kind = _Type(self._catalogue.wire_class(name), self._strict.decoder(name))
        self._types[name] = kind
        return kind

    def encode_carefully(self, name: str, document: dict[str, Json]) -> bytes:
        """`encode` for a parsed document, which it takes apart, with a place for what the schema does not know."""
        self.careful += 1
        if document.pop("resourceType", None) != name:
            raise CannotCarry(FallBack.TWO_TYPES)
        kind = self._types.get(name) or self._load(name)
        body = _serialised(kind.message, self._fitter.fit(name, document))
        _check_depth(kind.message, body)
        return body

    def _carried(self, value: object) -> object:
        """What the message's constructor takes for a type of ours."""
        if isinstance(value, msgspec.Raw):
            text = bytes(value)
            return text.decode() if text[0] in _NUMBER_STARTS else self._box(text)
        if isinstance(value, Base64):
            return bytes(value)
        raise TypeError(f"the strict structs hold no {type(value).__name__}")

    def _box(self, raw: bytes) -> dict[str, object]:
        """A `ResourceBox` for a JSON text, whatever it is."""
        name = resource_type_of(raw)
        if name in self._catalogue.resources:
            return {"type": name, "proto": self.encode(name, raw)}
        parse(raw)
        return {"json": raw}

    def _box_value(self, value: Json) -> dict[str, object]:
        """A `ResourceBox` for a parsed JSON value."""
        name = value.get("resourceType") if isinstance(value, dict) else None
        if isinstance(value, dict) and isinstance(name, str) and name in self._catalogue.resources:
            return {"type": name, "proto": self.encode_carefully(name, dict(value))}
        return {"json": write(value)}


def _serialised(message: type[Message], fields: Fitted) -> bytes:
    try:
        return message(**fields).SerializeToString()
    except EncodeError:
        raise CannotCarry(FallBack.TOO_DEEP) from None


def _check_depth(message: type[Message], body: bytes) -> None:
    try:
        message.FromString(body)
    except DecodeError:
        raise CannotCarry(FallBack.TOO_DEEP) from None


__all__ = ["MAX_DEPTH", "Encoder", "resource_type_of"]
