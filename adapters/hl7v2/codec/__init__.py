"""The HL7 v2 codec: bytes in, bytes out, no input or output, no clock (HL7 v2.1 to v2.8, chapter 2)."""

from __future__ import annotations

from adapters.hl7v2.codec.acknowledgement import (
    AckCode,
    AckError,
    Acknowledgement,
    Condition,
    build_acknowledgement,
    parse_acknowledgement,
)
from adapters.hl7v2.codec.batch import (
    BatchClosed,
    BatchEvent,
    BatchSplitter,
    Level,
    MessageFound,
    MessageRefused,
    Skipped,
    split_messages,
)
from adapters.hl7v2.codec.errors import (
    AcknowledgementMalformed,
    CharsetError,
    DelimitersRefused,
    HeaderMissing,
    Hl7Error,
    LimitExceeded,
    PathError,
)
from adapters.hl7v2.codec.filter import compile_filter
from adapters.hl7v2.codec.findings import Finding, Quirk
from adapters.hl7v2.codec.header import Header, peek
from adapters.hl7v2.codec.limits import DEFAULT_LIMITS, Limits
from adapters.hl7v2.codec.message import Message
from adapters.hl7v2.codec.patient import patient_key
from adapters.hl7v2.codec.segment import Presence, Segment

__all__ = [
    "DEFAULT_LIMITS",
    "AckCode",
    "AckError",
    "Acknowledgement",
    "AcknowledgementMalformed",
    "BatchClosed",
    "BatchEvent",
    "BatchSplitter",
    "CharsetError",
    "Condition",
    "DelimitersRefused",
    "Finding",
    "Header",
    "HeaderMissing",
    "Hl7Error",
    "Level",
    "LimitExceeded",
    "Limits",
    "Message",
    "MessageFound",
    "MessageRefused",
    "PathError",
    "Presence",
    "Quirk",
    "Segment",
    "Skipped",
    "build_acknowledgement",
    "compile_filter",
    "parse_acknowledgement",
    "patient_key",
    "peek",
    "split_messages",
]
