"""FHIR documents as clients want them: JSON in the mesh, protobuf where it is asked for, without loss either way.

Everything else goes through byte for byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from schemas.fhir import BodyCodec, Encoded, Release, decode, encode
from schemas.generated.medmesh.gateway.v1 import mesh_pb2 as pb

_JSON: Final = BodyCodec.JSON.media_type
_PROTOBUF: Final = BodyCodec.PROTOBUF.media_type
_RELEASES: Final = {"4.0": Release.R4, "4.3": Release.R4B, "5.0": Release.R5}
_LARGE_BYTES: Final = 128 * 1024
"""Conversions of more than that run beside the event loop."""

Converted = tuple[str, bytes]
"""Content type and body."""


async def to_mesh(content: pb.Content) -> Converted:
    """Content as the mesh carries it: FHIR protobuf becomes FHIR JSON. Raises `MalformedFhir`, `UnknownFhirType`."""
    media, parameters = read_type(content.type)
    if media != _PROTOBUF:
        return content.type, content.body
    return await _run(_as_json, content.body, parameters.get("message", ""))


async def to_client(content_type: str, body: bytes, form: pb.FhirForm.ValueType) -> Converted:
    """Content in the form that a client asked for; a document that protobuf cannot carry exactly stays JSON.

    Raises `MalformedFhir` for a document that says it is FHIR JSON and is no JSON object.
    """
    if form == pb.FHIR_FORM_UNSPECIFIED:
        return content_type, body
    media, parameters = read_type(content_type)
    if form == pb.FHIR_FORM_PROTOBUF and media == _JSON:
        release = _RELEASES.get(parameters.get("fhirversion", ""), Release.R4)
        return await _run(_as_protobuf, body, release, content_type)
    if form == pb.FHIR_FORM_JSON and media == _PROTOBUF:
        return await _run(_as_json, body, parameters.get("message", ""))
    return content_type, body


def read_type(content_type: str) -> tuple[str, dict[str, str]]:
    """A media type in lower case, and its parameters by lower-case name."""
    media, *rest = content_type.split(";")
    pairs = (one.partition("=") for one in rest)
    return media.strip().lower(), {
        name.strip().lower(): value.strip().strip('"') for name, _, value in pairs
    }


def _as_json(body: bytes, message: str) -> Converted:
    release = next((one for one in Release if message.startswith(one.package + ".")), Release.R4)
    version = next(number for number, one in _RELEASES.items() if one is release)
    suffix = "" if release is Release.R4 else f"; fhirVersion={version}"
    return _JSON + suffix, decode(Encoded(BodyCodec.PROTOBUF, body, message))


def _as_protobuf(body: bytes, release: Release, content_type: str) -> Converted:
    encoded = encode(body, release)
    if encoded.codec is BodyCodec.JSON:
        return content_type, body
    return encoded.content_type, encoded.body


async def _run(convert: Callable[..., Converted], body: bytes, *arguments: object) -> Converted:
    if len(body) > _LARGE_BYTES:
        return await asyncio.to_thread(convert, body, *arguments)
    return convert(body, *arguments)


__all__ = ["Converted", "read_type", "to_client", "to_mesh"]
