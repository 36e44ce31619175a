"""SOP classes and transfer syntaxes by what they are for (PS3.4 annex B.5, PS3.6 annex A)."""

from __future__ import annotations

from typing import Final

from adapters.dicom.uids import Uid

_COMPOSITE: Final = "1.2.840.10008.5.1.4.1.1."
"""Root of the storage classes of composite objects: those of later editions stand there, too."""
_OTHER_STORAGE: Final = frozenset(
    {
        "1.2.840.10008.5.1.4.34.1",  # RT beams delivery instruction (trial)
        "1.2.840.10008.5.1.4.34.7",  # RT beams delivery instruction
        "1.2.840.10008.5.1.4.34.10",  # RT brachy application setup delivery instruction
        "1.2.840.10008.5.1.4.38.1",  # hanging protocol
        "1.2.840.10008.5.1.4.39.1",  # colour palette
        "1.2.840.10008.5.1.4.43.1",  # implant templates
        "1.2.840.10008.5.1.4.44.1",
        "1.2.840.10008.5.1.4.45.1",
    }
)
_TRANSFER_SYNTAX: Final = "1.2.840.10008.1.2"
_NOT_OF_DATA_SETS: Final = ("1.2.840.10008.1.2.6.", "1.2.840.10008.1.2.7.")
"""MIME and XML encodings of PS3.10, and live video."""


def is_storage(sop_class: Uid) -> bool:
    """Whether instances of a class are stored by C-STORE."""
    return sop_class.startswith(_COMPOSITE) or sop_class in _OTHER_STORAGE


def is_data_set_syntax(syntax: Uid) -> bool:
    """Whether a transfer syntax is one that PS3.5 defines: its data sets can be told from their pixels."""
    is_standard = syntax == _TRANSFER_SYNTAX or syntax.startswith(_TRANSFER_SYNTAX + ".")
    return is_standard and not syntax.startswith(_NOT_OF_DATA_SETS)


__all__ = ["is_data_set_syntax", "is_storage"]
