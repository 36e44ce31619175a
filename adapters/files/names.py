"""File names from safe parts only: nothing that a sender wrote becomes part of a path. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_TEMPLATE: Final = re.compile(r"(?:[A-Za-z0-9_.-]|\{(?:time|seq|id)\})+\Z")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EXTENSIONS: Final = {
    "application/fhir+json": ".json",
    "application/json": ".json",
    "application/fhir+xml": ".xml",
    "application/xml": ".xml",
    "application/dicom": ".dcm",
    "application/pdf": ".pdf",
    "text/plain": ".txt",
}


def check_template(template: str) -> str:
    """Return the template. Raises `ValueError` when a name could be unsafe, hidden or the same for two events."""
    if not _TEMPLATE.match(template):
        raise ValueError(
            "a file name is made of letters, digits, '.', '_', '-', {time}, {seq} and {id}"
        )
    if "{id}" not in template:
        raise ValueError("a file name needs {id}: without it two events could get the same name")
    if template.startswith("."):
        raise ValueError(
            "a file name may not start with '.': such names are kept for half-written files"
        )
    return template


def file_name(
    template: str, *, received_ms: int, seq: int, message_id: bytes, extension: str
) -> str:
    """The name of an event's file: the same each time the event is written."""
    when = _EPOCH + timedelta(milliseconds=received_ms)
    name = template.replace("{time}", when.strftime("%Y%m%dT%H%M%S.%f")[:-3] + "Z")
    return name.replace("{seq}", f"{seq:012d}").replace("{id}", message_id.hex()) + extension


def day_folder(received_ms: int) -> str:
    """`2026-11-22`, in UTC."""
    return (_EPOCH + timedelta(milliseconds=received_ms)).strftime("%Y-%m-%d")


def extension_for(content_type: str) -> str:
    """The extension that a type of event usually has."""
    if content_type == "hl7v2" or content_type.startswith("hl7v2/"):
        return ".hl7"
    return _EXTENSIONS.get(content_type, ".bin")


__all__ = ["check_template", "day_folder", "extension_for", "file_name"]
