"""A document as a file: a `ResourceBox`, which says its own type, so that it can be read without being told.

    message ResourceBox { string type = 1; bytes proto = 2; bytes json = 3; }

It is the same message in each release (`medmesh.fhir.<release>.v1.ResourceBox`).
"""

from __future__ import annotations

from google.protobuf.message import DecodeError

from schemas.fhir.catalogue import catalogue
from schemas.fhir.codec import BodyCodec, Encoded
from schemas.fhir.errors import MalformedFhir
from schemas.fhir.release import Release


def boxed(encoded: Encoded, release: Release) -> bytes:
    """The serialised box of what the codec gave."""
    box = catalogue(release).box_class()
    if encoded.codec is BodyCodec.JSON:
        return box(json=encoded.body).SerializeToString()
    name = encoded.message_type.rpartition(".")[2]
    return box(type=name, proto=encoded.body).SerializeToString()


def unboxed(raw: bytes, release: Release) -> Encoded:
    """What a box holds, for the codec to decode. Raises `MalformedFhir` when the bytes are no box."""
    try:
        box = catalogue(release).box_class().FromString(raw)
    except DecodeError:
        raise MalformedFhir("the bytes are no ResourceBox") from None
    name, proto, json = (getattr(box, part) for part in ("type", "proto", "json"))
    if json:
        return Encoded(BodyCodec.JSON, json, "")
    if not name:
        raise MalformedFhir("the bytes are no ResourceBox: they name no resource type")
    return Encoded(BodyCodec.PROTOBUF, proto, release.message_type(name))


__all__ = ["boxed", "unboxed"]
