"""The functions that tables may name. A table can reach nothing else.

A text function takes the leaf's text; a value function takes a frame whose `parts` are the value. They return None for
no value, and raise ValueError, whose text never holds the value, for one that they cannot read.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from adapters.hl7v2.mapping import spans, times
from adapters.hl7v2.mapping.frames import Frame, Parts, leaf, spot
from adapters.hl7v2.mapping.numbers import DecimalText
from adapters.hl7v2.mapping.protocol import Json
from adapters.hl7v2.mapping.texts import document_text, text_attachment

_SPACES: Final = re.compile(r"\s+")
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z")
_OID: Final = re.compile(r"(?:urn:oid:)?([0-2](?:\.(?:0|[1-9]\d*))+)\Z", re.ASCII)
_UUID: Final = re.compile(
    r"(?:urn:uuid:)?([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\Z", re.IGNORECASE
)
_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*:[^\s<>\"{}|\\^`]+\Z", re.IGNORECASE)
_DNS: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9])?)+\Z",
    re.IGNORECASE,
)
_INTEGER: Final = re.compile(r"[+-]?\d{1,10}(?:\.0*)?\Z", re.ASCII)
_HL7_TABLE: Final = re.compile(r"HL7(\d{4})\Z")
_RANGE: Final = re.compile(
    r"\s*([+-]?\d*\.?\d+)\s*(?:-|to|\u2013)\s*([+-]?\d*\.?\d+)\s*\Z", re.ASCII
)
_MIME: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+\Z")
_LARGEST: Final = 2**31 - 1
V2: Final = "http://terminology.hl7.org/CodeSystem/v2-"
_KNOWN_SYSTEMS: Final = {
    "urn:oid:2.16.840.1.113883.4.1": "http://hl7.org/fhir/sid/us-ssn",
    "urn:oid:2.16.840.1.113883.4.6": "http://hl7.org/fhir/sid/us-npi",
    "urn:oid:2.16.840.1.113883.4.572": "http://hl7.org/fhir/sid/us-medicare",
    "urn:oid:2.16.840.1.113883.4.927": "http://hl7.org/fhir/sid/us-mbi",
}
"""Identifier systems that FHIR has an address of its own for (its registry of identifier systems): that one is used."""

TextFunction = Callable[[str, Frame], Json]
ValueFunction = Callable[[Frame], Json]


@dataclass(frozen=True, slots=True)
class Function:
    """A registered function: what it gives and how it is called (exactly one of `text` and `value`)."""

    gives: frozenset[str]
    """FHIR types of the elements that take its values."""
    text: TextFunction | None = None
    value: ValueFunction | None = None
    takes_all: bool = False
    """Called once with the field's first repetition; looks at all repetitions itself."""
    is_naming: bool = False
    """Makes a name of a text that a code table does not have: such a text is no unmapped code."""


def _string(text: str, frame: Frame) -> Json:
    return text


def _code(text: str, frame: Frame) -> Json:
    return text if text.isalnum() else _SPACES.sub(" ", text)


def _matching(pattern: re.Pattern[str], what: str) -> TextFunction:
    def check(text: str, frame: Frame) -> Json:
        if pattern.match(text) is None:
            raise ValueError(what)
        return text

    return check


def _uri(text: str, frame: Frame) -> Json:
    if _SPACES.search(text):
        raise ValueError("a uri has no spaces")
    return text


def _boolean(text: str, frame: Frame) -> Json:
    if text in ("Y", "y"):
        return True
    if text in ("N", "n"):
        return False
    raise ValueError("neither Y nor N")


def _whole(least: int) -> TextFunction:
    def read(text: str, frame: Frame) -> Json:
        if _INTEGER.match(text) is None:
            raise ValueError("no whole number")
        number = int(text.partition(".")[0])
        if not least <= number <= _LARGEST:
            raise ValueError("a number out of range")
        return number

    return read


def _decimal(text: str, frame: Frame) -> Json:
    return DecimalText.parse(text)


def _base64(text: str, frame: Frame) -> Json:
    plain = _SPACES.sub("", text)
    try:
        base64.b64decode(plain, validate=True)
    except binascii.Error:
        raise ValueError("no base64") from None
    return plain


def oid_uri(text: str, frame: Frame) -> Json:
    """An OID as a uri."""
    found = _OID.match(text)
    if found is None:
        raise ValueError("no OID")
    return f"urn:oid:{found[1]}"


def system(text: str, frame: Frame) -> Json:
    """The uri of a coding system's name, where it says one by itself."""
    if found := _HL7_TABLE.match(text):
        return V2 + found[1]
    if found := _OID.match(text):
        return f"urn:oid:{found[1]}"
    return text if _URI.match(text) else None


def hd_uri(frame: Frame) -> Json:
    """A HD's universal id as uri, by its type; of an untyped one only what is clear."""
    parts = frame.parts or []
    made = _universal(leaf(parts, 2, 1), leaf(parts, 3, 1).upper())
    if made is not None:
        frame.took(2)
        frame.took(3)
    return made


def hd_system(frame: Frame) -> Json:
    """A HD's universal id as the system of identifiers: as `hd_uri`, by FHIR's own address where it has one."""
    made = hd_uri(frame)
    return _KNOWN_SYSTEMS.get(made, made) if isinstance(made, str) else made


def _universal(text: str, kind: str) -> str | None:
    if not text:
        return None
    if found := _OID.match(text):
        return f"urn:oid:{found[1]}"
    if found := _UUID.match(text):
        return f"urn:uuid:{found[1].lower()}"
    if _URI.match(text):
        return text
    if kind == "DNS" and _DNS.match(text):
        return f"http://{text}"
    return None


def words(frame: Frame) -> Json:
    """All leaves, joined by spaces."""
    frame.took_all()
    return " ".join(_leaves(frame.parts or [])) or None


def components(frame: Frame) -> Json:
    """All components up to the last that is valued, joined by `^`, as types of messages are written."""
    texts = [part if isinstance(part, str) else "&".join(part) for part in frame.parts or []]
    frame.took_all()
    return "^".join(texts).rstrip("^&") or None


def _leaves(parts: Parts) -> list[str]:
    found: list[str] = []
    for part in parts:
        found.extend([part] if isinstance(part, str) else part)
    return [one for one in found if one]


def lines(frame: Frame) -> Json:
    """All repetitions of the field as lines; spaces at the start of a line are kept."""
    if not frame.field:
        return words(frame)
    every = frame.env.message.parts(frame.view.segment, frame.field)
    shown = []
    for number, parts in enumerate(every, 1):
        frame.view.read.add(spot(frame.field, number))
        text = next((part if isinstance(part, str) else part[0] for part in parts[:1]), "")
        shown.append("" if text == '""' else text.rstrip())
    return "\n".join(shown).strip("\r\n") or None


def xtn_number(frame: Frame) -> Json:
    """A phone number: unformatted, else as written, else of its parts."""
    parts = frame.parts or []
    for component in (12, 1):
        if plain := leaf(parts, component, 1):
            frame.took(component)
            return plain
    country, area, local, extension = (leaf(parts, n, 1) for n in (5, 6, 7, 8))
    if not local:
        return None
    for component in (5, 6, 7, 8):
        frame.took(component)
    pieces = [f"+{country.lstrip('+')}" if country else "", f"({area})" if area else "", local]
    return " ".join([one for one in pieces if one] + ([f"ext. {extension}"] if extension else []))


def ed_data(frame: Frame) -> Json:
    """The bytes of a ED or of a plain text as base64."""
    parts = frame.parts or []
    encoding, text = leaf(parts, 4, 1).lower(), leaf(parts, 5, 1)
    if not text:
        return None
    frame.took(4)
    frame.took(5)
    if encoding == "base64":
        return _base64(text, frame)
    if encoding == "hex":
        return base64.b64encode(bytes.fromhex(text)).decode("ascii")
    return base64.b64encode(text.encode()).decode("ascii")


def ed_type(frame: Frame) -> Json:
    """The media type of a ED, of its type and subtype."""
    kind, subtype = leaf(frame.parts or [], 2, 1).lower(), leaf(frame.parts or [], 3, 1).lower()
    made = _media_type(kind, subtype)
    if made is not None:
        frame.took(2)
        frame.took(3)
    return made


def _media_type(kind: str, subtype: str) -> str | None:
    if "/" in subtype and _MIME.match(subtype):
        return subtype
    known = {"pdf": "application/pdf", "rtf": "application/rtf", "jpeg": "image/jpeg", "tiff": "image/tiff",
             "png": "image/png", "html": "text/html", "xml": "application/xml", "plain": "text/plain"}  # fmt: skip
    if subtype in known:
        return known[subtype]
    made = f"{kind}/{subtype}"
    return (
        made
        if kind in ("application", "audio", "image", "text", "video") and _MIME.match(made)
        else None
    )


def _bound(group: int) -> TextFunction:
    def read(text: str, frame: Frame) -> Json:
        found = _RANGE.match(text)
        return DecimalText.parse(found[group]) if found else None

    return read


def reference_url(frame: Frame) -> Json:
    """The pointer of a RP, when it is a uri."""
    text = leaf(frame.parts or [], 1, 1)
    if not _URI.match(text):
        return None
    frame.took()
    return text


_TEXT: Final = frozenset({"string", "markdown"})
_URIS: Final = frozenset({"uri", "url", "canonical", "string"})


def _of(*names: str) -> frozenset[str]:
    return frozenset(names)


FUNCTIONS: Final[Mapping[str, Function]] = {
    "string": Function(_TEXT, text=_string),
    "markdown": Function(_TEXT, text=_string),
    "code": Function(_of("code", "string", "markdown"), text=_code),
    "id": Function(_of("id", "string", "code"), text=_matching(_ID, "no id")),
    "uri": Function(_URIS, text=_uri),
    "url": Function(_URIS, text=_uri),
    "canonical": Function(_URIS, text=_uri),
    "oid": Function(_of("oid", "uri", "string"), text=oid_uri),
    "uuid": Function(
        _of("uuid", "uri", "string"),
        text=_matching(re.compile(r"urn:uuid:[0-9a-f-]{36}\Z"), "no uuid"),
    ),
    "boolean": Function(_of("boolean"), text=_boolean),
    "integer": Function(_of("integer", "decimal"), text=_whole(-_LARGEST - 1)),
    "positiveInt": Function(
        _of("positiveInt", "unsignedInt", "integer", "decimal"), text=_whole(1)
    ),
    "unsignedInt": Function(_of("unsignedInt", "integer", "decimal"), text=_whole(0)),
    "decimal": Function(_of("decimal"), text=_decimal),
    "date": Function(_of("date", "dateTime"), text=times.date),
    "dateTime": Function(_of("dateTime"), text=times.date_time),
    "instant": Function(_of("instant", "dateTime"), text=times.instant),
    "time": Function(_of("time"), text=times.time),
    "base64Binary": Function(_of("base64Binary"), text=_base64),
    "lines": Function(_TEXT, value=lines, takes_all=True),
    "words": Function(_TEXT, value=words),
    "components": Function(_TEXT, value=components),
    "hd_uri": Function(_URIS, value=hd_uri),
    "hd_system": Function(_URIS, value=hd_system),
    "system": Function(_URIS, text=system, is_naming=True),
    "oid_uri": Function(_URIS, text=oid_uri),
    "xtn_number": Function(_TEXT, value=xtn_number),
    "ed_data": Function(_of("base64Binary"), value=ed_data),
    "ed_type": Function(_of("code", "string"), value=ed_type),
    "range_low": Function(_of("decimal"), text=_bound(1)),
    "range_high": Function(_of("decimal"), text=_bound(2)),
    "reference_url": Function(_URIS, value=reference_url),
    "minutes": Function(_of("positiveInt", "unsignedInt", "integer"), value=spans.minutes),
    "start_offset": Function(_of("instant", "dateTime"), value=spans.start_offset),
    "end_of_service": Function(_of("instant", "dateTime"), value=spans.end_of_service),
    "end_of_appointment": Function(_of("instant", "dateTime"), value=spans.end_of_appointment),
    "unknown_end": Function(_of("code"), value=spans.unknown_end),
    "document_text": Function(_of("Attachment"), value=document_text),
    "text_attachment": Function(_of("Attachment"), value=text_attachment, takes_all=True),
}
CODED: Final = frozenset({"Coding", "CodeableConcept"})
"""Made of a text by the code tables: `coding.py`."""

__all__ = ["CODED", "FUNCTIONS", "Function", "TextFunction", "ValueFunction"]
