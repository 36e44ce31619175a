"""FHIR R4 to HL7 v2, by declarative tables in layers: own rules, no reversal of those of the other direction."""

from adapters.hl7v2.reverse.engine import Writer, compile_writer, default_writer
from adapters.hl7v2.reverse.loading import load_reverse_tables
from adapters.hl7v2.reverse.model import ReverseTables
from adapters.hl7v2.reverse.protocol import WriteContext, Written
from adapters.hl7v2.reverse.reading import read_fhir_json

__all__ = [
    "ReverseTables",
    "WriteContext",
    "Writer",
    "Written",
    "compile_writer",
    "default_writer",
    "load_reverse_tables",
    "read_fhir_json",
]
