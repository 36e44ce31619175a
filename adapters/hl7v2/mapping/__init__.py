"""HL7 v2 to FHIR R4 and back, by declarative tables in layers. No input or output beside loading tables."""

from adapters.hl7v2.mapping.engine import compile_mapper, default_mapper
from adapters.hl7v2.mapping.errors import TablesError
from adapters.hl7v2.mapping.layers import Layer
from adapters.hl7v2.mapping.loading import load_tables
from adapters.hl7v2.mapping.model import Tables
from adapters.hl7v2.mapping.numbers import DecimalText
from adapters.hl7v2.mapping.protocol import (
    Issue,
    IssueCode,
    Json,
    MapContext,
    Mapped,
    Mapper,
    Origin,
    Output,
    Resource,
    Severity,
)
from adapters.hl7v2.mapping.writing import to_json

__all__ = [
    "DecimalText",
    "Issue",
    "IssueCode",
    "Json",
    "Layer",
    "MapContext",
    "Mapped",
    "Mapper",
    "Origin",
    "Output",
    "Resource",
    "Severity",
    "Tables",
    "TablesError",
    "compile_mapper",
    "default_mapper",
    "load_tables",
    "to_json",
]
