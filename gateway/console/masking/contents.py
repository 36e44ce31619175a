"""Which format a content has, and so which list decides. Pure."""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import Final

from adapters.hl7v2.codec.errors import Hl7Error
from gateway.console.masking import fhir, hl7v2
from gateway.console.masking.rows import Masked, Row

_HL7: Final = ("hl7v2", "application/hl7-v2", "x-application/hl7-v2+er7")
"""Beside the mesh's own for each type of message: `hl7v2/ADT^A01`."""
_FHIR: Final = frozenset({"application/fhir+json", "application/json+fhir"})
_MAX_TEXT: Final = 64 * 1024
_MAX_BINARY: Final = 2048
_LINE: Final = 16


def mask(content_type: str, body: bytes) -> Masked:
    """What an operator may see without a reason. Of a format that has no list: its type and size."""
    return _read(
        content_type, body, hl7v2.mask, fhir.mask,
        lambda: Masked(
            format=_named(content_type), size=len(body),
            note="No list says which fields of this format may be seen, so none is.",
        ),
    )  # fmt: skip


def reveal(content_type: str, body: bytes) -> Masked:
    """All of it, for whoever gave a reason."""
    return _read(
        content_type, body, hl7v2.reveal, fhir.reveal, lambda: _plain(_named(content_type), body)
    )


def _read(
    content_type: str,
    body: bytes,
    of_hl7: Callable[[bytes], Masked],
    of_fhir: Callable[[bytes], Masked],
    otherwise: Callable[[], Masked],
) -> Masked:
    media_type = content_type.partition(";")[0].strip().lower()
    try:
        if media_type in _HL7 or media_type.startswith("hl7v2/"):
            return of_hl7(body)
        if media_type in _FHIR:
            return of_fhir(body)
    except (Hl7Error, ValueError):
        pass  # it is not what it says it is: whatever it is, it has no list
    return otherwise()


def _named(content_type: str) -> str:
    return content_type if content_type.isascii() and len(content_type) <= 80 else "unknown format"


def _plain(named: str, body: bytes) -> Masked:
    try:
        text = body[:_MAX_TEXT].decode()
        rows = [Row(name=str(n), value=line) for n, line in enumerate(text.splitlines(), 1)]
        is_cut = len(body) > _MAX_TEXT
    except UnicodeDecodeError:
        lines = range(0, min(len(body), _MAX_BINARY), _LINE)
        rows = [
            Row(name=f"{at:06x}", value=binascii.hexlify(body[at : at + _LINE], " ").decode())
            for at in lines
        ]
        is_cut = len(body) > _MAX_BINARY
    return Masked(format=named, rows=tuple(rows), size=len(body), is_cut=is_cut)


__all__ = ["Masked", "Row", "mask", "reveal"]
