"""Functions that tables of the way to HL7 v2 can name: a value of a resource to the text of a leaf.

A function gives None for a value that it cannot write, and the engine makes an issue of it; an empty text is nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final, TypeAlias

from adapters.hl7v2.mapping.numbers import DecimalText
from adapters.hl7v2.reverse.building import Value

Function: TypeAlias = Callable[[object], "Value | None"]
_DATE_TIME: Final = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?:T(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?P<fraction>\.\d{1,12})?)?"
    r"(?P<zone>Z|[+-]\d\d:\d\d)?)?)?)?\Z",
    re.ASCII,
)
_TIME: Final = re.compile(r"(\d\d):(\d\d)(?::(\d\d)(\.\d{1,12})?)?\Z", re.ASCII)
_OID: Final = re.compile(r"[0-2](?:\.(?:0|[1-9]\d*))+\Z", re.ASCII)
_V2_SYSTEM: Final = re.compile(r"http://(?:terminology\.hl7\.org/CodeSystem|hl7\.org/fhir|terminology\.hl7\.org/ValueSet)"
                               r"(?:/v2)?[/-](?:v2-)?(?P<number>\d{4})\Z")  # fmt: skip
_MOST_DIGITS: Final = 64
_SECOND_DIGITS: Final = 5
"""`.SSSS`: what DTM takes (HL7 v2.8.2 section 2A.3.22)."""


def text(value: object) -> str | None:
    """A text, a number with its digits, a boolean as FHIR writes it."""
    if isinstance(value, str):
        return str(value) if value.strip() else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return number(value)


def number(value: object) -> str | None:
    """A number with the digits it came with (NM)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        digits = str(value) if abs(value) < 10**_MOST_DIGITS else ""
        return digits or None
    if isinstance(value, DecimalText):
        return value.text
    if isinstance(value, float):
        value = Decimal(repr(value))
    if isinstance(value, Decimal) and value.is_finite():
        exponent = value.as_tuple().exponent
        if isinstance(exponent, int) and -_MOST_DIGITS < exponent < _MOST_DIGITS:
            digits = format(value, "f")
            return digits if len(digits) <= 2 * _MOST_DIGITS else None
    return None


def date_time(value: object) -> str | None:
    """A date, dateTime or instant as DTM or TS: precision and offset kept."""
    found = _DATE_TIME.match(value) if isinstance(value, str) else None
    if found is None:
        return None
    parts = found.groupdict(default="")
    zone = parts["zone"].replace(":", "").replace("Z", "+0000")
    digits = "".join(parts[name] for name in ("year", "month", "day", "hour", "minute", "second"))
    return f"{digits}{parts['fraction'][:_SECOND_DIGITS]}{zone}"


def date(value: object) -> str | None:
    """The date of a date, dateTime or instant (DT)."""
    return date_time(value[:10]) if isinstance(value, str) else None


def time(value: object) -> str | None:
    """A time of day (TM)."""
    found = _TIME.match(value) if isinstance(value, str) else None
    return "".join(part or "" for part in found.groups())[:11] if found else None


def yes_no(value: object) -> str | None:
    """`Y` or `N` (HL7 table 0136)."""
    return ("Y" if value else "N") if isinstance(value, bool) else None


def universal_id(value: object) -> str | None:
    """The id in a system: the OID of `urn:oid:…`, the UUID of `urn:uuid:…`, else the uri as it is."""
    if not isinstance(value, str):
        return None
    if namespace(value):
        return ""
    for prefix in ("urn:oid:", "urn:uuid:", "urn:dns:"):
        value = value.removeprefix(prefix)
    return text(value)


def universal_id_type(value: object) -> str | None:
    """`ISO`, `UUID`, `DNS` or `URI` (HL7 table 0301)."""
    if not isinstance(value, str):
        return None
    if value.startswith("urn:oid:") or _OID.match(value):
        return "ISO"
    if namespace(value):
        return ""
    if value.startswith("urn:dns:"):
        return "DNS"
    return "UUID" if value.startswith("urn:uuid:") else "URI"


def namespace(value: object) -> str | None:
    """The name in a system that is no uri (`LAB`), or only wraps one (`urn:id:LAB`); empty for every other."""
    if not isinstance(value, str):
        return None
    if value.startswith("urn:id:"):
        return value.removeprefix("urn:id:")
    return "" if ":" in value or _OID.match(value) else text(value)


def coding_system(value: object) -> str | None:
    """The name of a coding system (HL7 table 0396): `HL70203` of a v2 system, an OID, else as it is."""
    if not isinstance(value, str):
        return None
    found = _V2_SYSTEM.match(value)
    return f"HL7{found['number']}" if found else text(value.removeprefix("urn:oid:"))


def hd(value: object) -> Value | None:
    """A setting such as `LAB`, or `LAB^1.2.3^ISO`, as HD."""
    if not isinstance(value, str):
        return None
    parts: dict[int, Value] = {i: one for i, one in enumerate(value.split("^")[:3], 1) if one}
    return parts or None


def main_type(value: object) -> str | None:
    """The first half of a media type in the words of HL7 table 0191, or `Application`."""
    kind = value.partition("/")[0].lower() if isinstance(value, str) else ""
    return {"image": "Image", "audio": "Audio", "text": "TEXT", "multipart": "multipart"}.get(
        kind, "Application"
    )


def subtype(value: object) -> str | None:
    """The second half of a media type (HL7 table 0291): `PDF`, `x-hl7-cda-level-one`."""
    if not isinstance(value, str):
        return None
    found = value.partition(";")[0].partition("/")[2].strip()
    return {"pdf": "PDF", "rtf": "RTF", "html": "HTML", "xml": "XML", "jpeg": "JPEG"}.get(
        found.lower(), found
    ) or None


FUNCTIONS: Final[Mapping[str, Function]] = {
    "text": text,
    "number": number,
    "dateTime": date_time,
    "date": date,
    "time": time,
    "yes_no": yes_no,
    "universal_id": universal_id,
    "universal_id_type": universal_id_type,
    "namespace": namespace,
    "coding_system": coding_system,
    "hd": hd,
    "main_type": main_type,
    "subtype": subtype,
}

__all__ = ["FUNCTIONS", "Function"]
