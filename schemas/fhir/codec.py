"""FHIR JSON to protobuf and back, without loss: the number text, the order of lists and unknown elements survive.

What protobuf cannot carry exactly travels as the JSON that it was. Key order and white space are not kept by protobuf:
whoever signs or hashes a document does so over the bytes that the source sent.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError, Message

from schemas.fhir.catalogue import Catalogue, catalogue
from schemas.fhir.decoder import decoder
from schemas.fhir.encoder import Encoder, resource_type_of
from schemas.fhir.errors import MalformedFhir, UnknownFhirType
from schemas.fhir.fallback import CannotCarry, FallBack
from schemas.fhir.loading import one_each
from schemas.fhir.release import Release
from schemas.fhir.text import canonical, may_hold_negative_zero, parse_object


class BodyCodec(Enum):
    """What an encoded body is."""

    PROTOBUF = "protobuf"
    JSON = "json"

    @property
    def media_type(self) -> str:
        """The media type, without parameters."""
        return f"application/fhir+{self.value}"


class Encoded(NamedTuple):
    """A document as it travels."""

    codec: BodyCodec
    body: bytes
    message_type: str
    """The full name of the protobuf message, e.g. `medmesh.fhir.r4.v1.Patient`; empty for JSON."""

    @property
    def content_type(self) -> str:
        """The media type; with protobuf, the message as its parameter."""
        message = f"; message={self.message_type}" if self.message_type else ""
        return self.codec.media_type + message


@dataclass(slots=True)
class CodecCounts:
    """What a codec has met since it was made; a sender whose counts rise sends what FHIR does not define."""

    encoded: int = 0
    """Documents encoded, as protobuf or JSON."""
    careful: int = 0
    """Resources (contained ones count, too) that did not pass the strict check and were fitted key by key."""
    unknown_json: int = 0
    """Documents of which something is carried as `unknown_json`."""
    fell_back: Counter[FallBack] = field(default_factory=Counter)
    """Documents that travel as JSON, by reason."""


class FhirCodec:
    """Converts documents of one release. Types are loaded when they are met first.

    Threads may share a codec; its counts are then close, not exact.
    """

    def __init__(self, release: Release) -> None:
        self.release = release
        self.counts = CodecCounts()
        self._catalogue: Final[Catalogue] = catalogue(release)
        self._encoder = Encoder(self._catalogue)
        self._decoder = decoder(release)

    def encode(self, raw: bytes, *, verify: bool = False) -> Encoded:
        """Protobuf for a FHIR JSON text in UTF-8; the text itself where protobuf cannot carry it exactly.

        `verify` reads the result back and compares, at about four times the cost; it also finds keys that stand twice,
        of which otherwise the last one counts. Raises `MalformedFhir` when `raw` is no JSON object.
        """
        name = resource_type_of(raw)
        self.counts.encoded += 1
        if name not in self._catalogue.resources:
            return self._as_json(raw, FallBack.UNKNOWN_TYPE)
        if may_hold_negative_zero(raw):
            return self._as_json(raw, FallBack.NEGATIVE_ZERO)
        encoder = self._encoder
        misfits, careful = encoder.misfits, encoder.careful
        try:
            body = encoder.encode(name, raw)
        except CannotCarry as cannot:
            return self._as_json(raw, cannot.reason)
        except (RecursionError, MalformedFhir):
            # a resource deep inside others may exhaust the stack with JSON that is none the worse for it
            return self._as_json(raw, FallBack.TOO_DEEP)
        if verify and not self._identical(name, body, raw):
            return self._as_json(raw, FallBack.NOT_IDENTICAL)
        self.counts.careful += encoder.careful - careful
        self.counts.unknown_json += encoder.misfits > misfits
        return Encoded(BodyCodec.PROTOBUF, body, self.release.message_type(name))

    def decode(self, encoded: Encoded) -> bytes:
        """The FHIR JSON of what `encode` gave; JSON comes back as the very bytes.

        Raises `UnknownFhirType` for a message of another release or of no resource, and `MalformedFhir`.
        """
        if encoded.codec is BodyCodec.JSON:
            return encoded.body
        return self._decoder.decode(self._resource_type(encoded.message_type), encoded.body)

    def open(self, encoded: Encoded) -> Message:
        """The protobuf message itself, with the fields of the `.proto` files, for typed reading.

        Resources inside it stay closed boxes until `open_box` is asked for one. Raises as `decode` does, and
        `MalformedFhir` for a document that travels as JSON.
        """
        if encoded.codec is BodyCodec.JSON:
            raise MalformedFhir("the document travels as JSON: protobuf cannot carry it exactly")
        return self._parsed(self._resource_type(encoded.message_type), encoded.body)

    def open_box(self, box: Message) -> Message | bytes:
        """The resource in a `ResourceBox` of a message that `open` gave: a message, or JSON of an unknown type."""
        json, name, body = (getattr(box, part) for part in ("json", "type", "proto"))
        return json or self._parsed(name, body)

    def _parsed(self, name: str, body: bytes) -> Message:
        try:
            return self._catalogue.message_class(name).FromString(body)
        except DecodeError:
            raise MalformedFhir("the bytes are no message of the type that they claim") from None

    def _resource_type(self, message_type: str) -> str:
        package, _, name = message_type.rpartition(".")
        if package != self.release.package or name not in self._catalogue.resources:
            raise UnknownFhirType(f"no message type of a resource in FHIR {self.release.value}")
        return name

    def _identical(self, name: str, body: bytes, raw: bytes) -> bool:
        try:
            return canonical(self._decoder.decode(name, body)) == canonical(raw)
        except (ValueError, RecursionError):  # a key that stands twice, or nested too deep
            return False

    def _as_json(self, raw: bytes, reason: FallBack) -> Encoded:
        parse_object(raw)
        self.counts.fell_back[reason] += 1
        return Encoded(BodyCodec.JSON, raw, "")


@one_each
def codec(release: Release) -> FhirCodec:
    """The one codec of a release in this process."""
    return FhirCodec(release)


def encode(raw: bytes, release: Release, *, verify: bool = False) -> Encoded:
    """`FhirCodec.encode` of the process's codec."""
    return codec(release).encode(raw, verify=verify)


def decode(encoded: Encoded) -> bytes:
    """`FhirCodec.decode` of the process's codec of the release that the message type names."""
    if encoded.codec is BodyCodec.JSON:
        return encoded.body
    for release in Release:
        if encoded.message_type.startswith(release.package + "."):
            return codec(release).decode(encoded)
    raise UnknownFhirType("no message type of a FHIR release")


__all__ = [
    "BodyCodec",
    "CodecCounts",
    "Encoded",
    "FallBack",
    "FhirCodec",
    "codec",
    "decode",
    "encode",
]
