"""What the receiver reads of a data set: identity and what queries ask for. The one room that knows pydicom's reader.

Pixels are never decoded; reading stops before them. Whatever the bytes are, the outcome is a `Header` or `Unparsable`.
"""

from __future__ import annotations

import io
import warnings
import zlib
from dataclasses import dataclass, field
from typing import Final

import pydicom.config
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.valuerep import PersonName

from adapters.dicom.uids import (
    DEFLATED_LITTLE_ENDIAN,
    EXPLICIT_BIG_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    BadUid,
    Uid,
    uid,
)
from schemas.errors import MeshError

pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
warnings.filterwarnings(
    "ignore", module=r"pydicom\."
)  # it warns of what peers send: theirs to mend, not ours to print

_FIRST_PIXEL_TAG: Final = 0x7FE0_0008
_MAX_INFLATED_BYTES: Final = 1 << 24
_MAX_TEXT_CHARS: Final = 1_024


class Unparsable(MeshError, ValueError):
    """Bytes that are no data set in the transfer syntax they came in, or one without its identity."""

    code = "dicom_unparsable"


class HeaderTooLong(Unparsable):
    """The part before the pixels goes on behind the bytes that were given: give more."""

    code = "dicom_header_too_long"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the index keeps of an instance. Text is decoded by (0008,0005); patient data, never shown."""

    sop_class: Uid
    sop_instance: Uid
    study: Uid
    series: Uid
    attributes: dict[str, str] = field(repr=False)
    """Keyword to value, several values joined by a backslash; only those of `INDEXED` that are there."""

    def text(self, keyword: str) -> str:
        """An attribute; empty when it is not there."""
        return self.attributes.get(keyword, "")


STUDY_KEYWORDS: Final = (
    "PatientID",
    "IssuerOfPatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "ReferringPhysicianName",
)
SERIES_KEYWORDS: Final = (
    "Modality",
    "SeriesNumber",
    "SeriesDescription",
    "SeriesDate",
    "SeriesTime",
    "BodyPartExamined",
    "Laterality",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "Manufacturer",
    "StationName",
    "InstitutionName",
)
INSTANCE_KEYWORDS: Final = (
    "InstanceNumber",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "ContentDate",
    "ContentTime",
    "BurnedInAnnotation",
)
INDEXED: Final = STUDY_KEYWORDS + SERIES_KEYWORDS + INSTANCE_KEYWORDS


def read_header(prefix: bytes, transfer_syntax: Uid, *, is_whole: bool) -> Header:
    """The header of a data set, from its first bytes. Blocks for up to some milliseconds.

    `is_whole`: nothing follows. Raises `HeaderTooLong` when the part before the pixels is longer, `Unparsable`.
    """
    dataset = _read(prefix, transfer_syntax, is_whole=is_whole)
    identity = [_uid(dataset, keyword) for keyword in _IDENTITY]
    return Header(
        sop_class=identity[0],
        sop_instance=identity[1],
        study=identity[2],
        series=identity[3],
        attributes={keyword: value for keyword in INDEXED if (value := _text(dataset, keyword))},
    )


_IDENTITY: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


class _Prefix(io.BytesIO):
    """Bytes that know when more was asked than is there."""

    is_over = False

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        if size is not None and size > len(found):
            self.is_over = True
        return found


def _read(prefix: bytes, syntax: Uid, *, is_whole: bool) -> Dataset:
    if syntax == DEFLATED_LITTLE_ENDIAN:
        prefix, is_whole = _inflated(prefix, is_whole=is_whole)
    source = _Prefix(prefix)
    stopped = False

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
        nonlocal stopped
        stopped = int(tag) >= _FIRST_PIXEL_TAG
        return stopped

    try:
        dataset = read_dataset(
            source,
            is_implicit_VR=syntax == IMPLICIT_LITTLE_ENDIAN,
            is_little_endian=syntax != EXPLICIT_BIG_ENDIAN,
            stop_when=stop,
        )
    except Exception as error:  # noqa: BLE001  # hostile bytes reach many corners of the library
        if source.is_over and not is_whole:
            raise HeaderTooLong("the part before the pixels goes on") from None
        raise Unparsable(f"no data set: {type(error).__name__}") from None
    if not stopped and not is_whole:
        raise HeaderTooLong("the part before the pixels goes on")
    return dataset


def _inflated(prefix: bytes, *, is_whole: bool) -> tuple[bytes, bool]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        found = inflater.decompress(prefix, _MAX_INFLATED_BYTES)
    except zlib.error:
        raise Unparsable("no deflated data set") from None
    return found, is_whole and not inflater.unconsumed_tail


def _uid(dataset: Dataset, keyword: str) -> Uid:
    try:
        return uid(str(dataset.get(keyword) or ""))
    except BadUid as error:
        raise Unparsable(f"{keyword}: {error}") from None


def _text(dataset: Dataset, keyword: str) -> str:
    try:
        value = dataset.get(keyword)
    except Exception:  # noqa: BLE001  # an element that cannot be read is one that is not there
        return ""
    if value is None:
        return ""
    if isinstance(value, str | PersonName) or not hasattr(value, "__iter__"):
        return str(value).strip("\0 ")[:_MAX_TEXT_CHARS]
    return "\\".join(str(one).strip("\0 ") for one in value)[:_MAX_TEXT_CHARS]


__all__ = [
    "INDEXED",
    "INSTANCE_KEYWORDS",
    "SERIES_KEYWORDS",
    "STUDY_KEYWORDS",
    "Header",
    "HeaderTooLong",
    "Unparsable",
    "read_header",
]
