"""FHIR as it travels: protobuf schemas of R4, R4B and R5, the lossless codec, typed reads, and the projection.

`encode` and `decode` convert FHIR JSON to protobuf and back; `project` reads what routing needs; `read` gives typed
structs. Types are loaded when they are met first.
"""

from schemas.fhir.catalogue import Catalogue, catalogue
from schemas.fhir.codec import (
    BodyCodec,
    CodecCounts,
    Encoded,
    FallBack,
    FhirCodec,
    codec,
    decode,
    encode,
)
from schemas.fhir.errors import MalformedFhir, NewerFhirSchema, UnknownFhirType
from schemas.fhir.projection import Projection, Token, project
from schemas.fhir.release import Release
from schemas.fhir.structs import read, struct_type

__all__ = [
    "BodyCodec",
    "Catalogue",
    "CodecCounts",
    "Encoded",
    "FallBack",
    "FhirCodec",
    "MalformedFhir",
    "NewerFhirSchema",
    "Projection",
    "Release",
    "Token",
    "UnknownFhirType",
    "catalogue",
    "codec",
    "decode",
    "encode",
    "project",
    "read",
    "struct_type",
]
