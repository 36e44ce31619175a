"""What a body says of its own type, read from as little of it as possible."""

from __future__ import annotations

import codecs
import re
from typing import Final

import msgspec

_FIRST: Final = re.compile(rb'\s*\{\s*"resourceType"\s*:\s*"([A-Za-z]{1,64})"\s*[,}]')
_SEPARATORS: Final = 8
_TYPE_FIELD: Final = 8
_HEAD_BYTES: Final = 4096


class _Typed(msgspec.Struct):
    resourceType: str = ""  # noqa: N815 -- FHIR's own name


_typed: Final = msgspec.json.Decoder(_Typed)


def resource_type(body: bytes) -> str:
    """The resource type of FHIR JSON; empty when there is none, or no JSON.

    The usual place, first, is read alone; only where it is elsewhere the whole body is scanned.
    """
    found = _FIRST.match(body)
    if found:
        return found[1].decode()
    try:
        return _typed.decode(body).resourceType
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def whole_resource_type(body: bytes) -> str | None:
    """The resource type of FHIR JSON that is well formed to its end; None for what is no JSON object."""
    try:
        return _typed.decode(body).resourceType
    except msgspec.ValidationError:  # JSON, but of another shape
        return "" if body.lstrip().startswith(b"{") else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def hl7_type(body: bytes) -> str:
    """`hl7v2/ADT^A01` from MSH-9 (code and trigger); empty for what does not begin with MSH."""
    head = _as_ascii(body[:_HEAD_BYTES])
    if not head.startswith(b"MSH") or len(head) < _SEPARATORS:
        return ""
    line = re.split(rb"[\r\n]", head, maxsplit=1)[0]
    fields = line.split(head[3:4])
    if len(fields) <= _TYPE_FIELD:
        return ""
    code, _, rest = fields[_TYPE_FIELD].partition(head[4:5])
    trigger = rest.partition(head[4:5])[0].strip()
    words = code.strip() + (b"^" + trigger if trigger else b"")
    return "hl7v2/" + words.decode("ascii", "replace")


def _as_ascii(head: bytes) -> bytes:
    """The beginning of a message in one of the wide charsets, as far as it is ASCII."""
    if head.startswith(codecs.BOM_UTF8):
        return head[3:]
    for mark, name in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if head.startswith(mark):
            return head[2:].decode(name, "replace").encode("ascii", "replace")
    for name in ("utf-16-le", "utf-16-be"):
        if head.startswith("MSH".encode(name)):
            return head.decode(name, "replace").encode("ascii", "replace")
    return head


__all__ = ["hl7_type", "resource_type", "whole_resource_type"]
