"""HL7 v2: which fields may be seen (HL7 v2.5.1 chapters 2 to 7, 10). Pure.

Shown is what says which kind of message it is, where it came from and how it was answered. Hidden is who it is about,
what was found, and every free text, number of a person, order or visit.
"""

from __future__ import annotations

from typing import Final

from adapters.hl7v2.codec.errors import Hl7Error
from adapters.hl7v2.codec.limits import DEFAULT_LIMITS
from adapters.hl7v2.codec.message import Message
from adapters.hl7v2.codec.segment import Segment
from gateway.console.masking.rows import HIDDEN, MAX_ROWS, Masked, Row, is_harmless

_SHOWN: Final[dict[str, dict[int, str]]] = {
    "MSH": {
        3: "sending application", 4: "sending facility", 5: "receiving application", 6: "receiving facility",
        7: "time of message", 9: "message type", 10: "control id", 11: "processing id", 12: "version",
        13: "sequence number", 15: "accept acknowledgement", 16: "application acknowledgement", 17: "country",
        18: "character set", 21: "profile",
    },
    "EVN": {1: "event type", 2: "recorded", 4: "reason code"},
    "PID": {1: "set id"},
    "PV1": {1: "set id", 2: "patient class", 4: "admission type", 10: "hospital service", 18: "patient type"},
    "ORC": {1: "order control", 5: "order status", 7: "quantity and timing", 9: "time of transaction"},
    "OBR": {1: "set id", 4: "service", 5: "priority", 22: "time of report", 24: "section", 25: "result status"},
    "OBX": {1: "set id", 2: "value type", 3: "observation", 11: "result status"},
    "RXA": {1: "give sub-id", 20: "completion status", 21: "action code"},
    "SCH": {25: "filler status"},
    "MSA": {1: "acknowledgement code", 2: "control id", 4: "expected sequence number"},
    "ERR": {1: "code and location", 2: "location", 3: "error code", 4: "severity"},
    "TXA": {1: "set id", 2: "document type", 3: "presentation", 17: "completion status", 19: "availability"},
    "SPM": {1: "set id", 4: "specimen type"},
    "TQ1": {1: "set id", 9: "priority"},
    "BHS": {3: "sending application", 7: "time of batch"},
    "FHS": {3: "sending application", 7: "time of file"},
    "MFI": {1: "master file", 3: "event", 6: "response level"},
    "QRD": {1: "time of query", 2: "format", 3: "priority"},
    "QPD": {1: "query"},
    "QAK": {2: "response status"},
}  # fmt: skip

_HIDDEN_LABELS: Final[dict[str, dict[int, str]]] = {
    "PID": {
        2: "patient id", 3: "patient identifiers", 5: "patient name", 6: "mother's maiden name", 7: "date of birth",
        8: "sex", 9: "alias", 11: "address", 13: "phone, home", 14: "phone, business", 18: "account number",
        19: "social security number",
    },
    "PV1": {
        3: "location", 7: "attending doctor", 8: "referring doctor", 9: "consulting doctor", 17: "admitting doctor",
        19: "visit number", 44: "admitted", 45: "discharged",
    },
    "ORC": {2: "placer order number", 3: "filler order number", 12: "ordering provider"},
    "OBR": {2: "placer order number", 3: "filler order number", 7: "observed", 16: "ordering provider"},
    "OBX": {5: "value", 6: "unit", 7: "reference range", 8: "flags", 14: "observed", 16: "observer"},
    "NK1": {2: "name of next of kin", 4: "address", 5: "phone"},
    "DG1": {3: "diagnosis", 4: "diagnosis, in words"},
    "AL1": {3: "allergen", 5: "reaction"},
    "IN1": {2: "plan", 3: "insurer id", 16: "name of insured", 36: "policy number"},
    "NTE": {3: "comment"},
    "MSA": {3: "text"},
    "MSH": {8: "security"},
}  # fmt: skip


def mask(raw: bytes) -> Masked:
    """The message with only the listed fields readable. Raises `Hl7Error` for what is no message."""
    return _rows(raw, is_masked=True)


def reveal(raw: bytes) -> Masked:
    """The message with every field readable. Raises `Hl7Error`."""
    return _rows(raw, is_masked=False)


def _rows(raw: bytes, *, is_masked: bool) -> Masked:
    message = Message.parse(raw)
    rows: list[Row] = []
    hidden = 0
    segments = message.segments()
    for segment in segments:
        if len(rows) >= MAX_ROWS:
            break
        is_known = segment.name in _SHOWN or segment.name in _HIDDEN_LABELS
        name = segment.name if is_known or not is_masked or segment.name.isalnum() else HIDDEN
        rows.append(Row(name=name, is_head=True))
        found = _fields(message, segment, is_masked=is_masked)
        rows += found
        hidden += sum(row.is_hidden for row in found)
    kind = message.get("MSH-9")
    return Masked(
        format=f"HL7 v2 message {kind if is_harmless(kind) else ''}".rstrip(),
        rows=tuple(rows[:MAX_ROWS]),
        hidden=hidden,
        size=len(raw),
        is_cut=len(rows) > MAX_ROWS or sum(row.is_head for row in rows) < len(segments),
    )


def _fields(message: Message, segment: Segment, *, is_masked: bool) -> list[Row]:
    shown = _SHOWN.get(segment.name, {})
    labels = shown | _HIDDEN_LABELS.get(segment.name, {})
    found = []
    first = 3 if segment.name == "MSH" else 1
    for number, value in enumerate(segment.fields[: DEFAULT_LIMITS.max_fields]):
        if number < first or not value:
            continue
        text = _text(message, value)
        is_hidden = is_masked and not (number in shown and is_harmless(text))
        found.append(
            Row(
                name=f"{segment.name}-{number}",
                label=labels.get(number, ""),
                value=HIDDEN if is_hidden else text,
                is_hidden=is_hidden,
                depth=1,
            )
        )
    return found


def _text(message: Message, value: bytes) -> str:
    charset = message.charset
    try:
        return charset.decode(value) if charset is not None else value.decode("latin-1")
    except Hl7Error:
        return value.decode("utf-8", "replace")


__all__ = ["mask", "reveal"]
