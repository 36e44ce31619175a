"""Pairs of a message and the bundle that another producer made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import orjson

from tests.mapping.corpus import FOLDER
from tests.mapping.decisions import marks
from tests.mapping.facts import Facts, Mark, facts_of, without_unsaid_codings
from tests.mapping.values import Said
from tests.shared_data import shared_path


@dataclass(frozen=True, slots=True)
class Pair:
    """One message and what an oracle expects of it, already as facts."""

    name: str
    raw: bytes
    said: Said
    expected: Facts
    marks: tuple[Mark, ...] = ()

    @property
    def message_type(self) -> str:
        """MSH-9.1."""
        header = self.raw[max(0, self.raw.find(b"MSH")) :]
        fields = header.split(header[3:4], 9)
        return fields[8][:3].decode("ascii", "replace") if len(fields) > 8 else ""

    @property
    def is_reverse(self) -> bool:
        """Whether the bundle was first, and the message was made of it."""
        return _is_reverse(self.name)

    def facts(self, bundle: Mapping[str, Any]) -> Facts:
        """A bundle of this message as facts that count for this pair."""
        return _facts(bundle, self.said, self.name, self.marks)


@dataclass(frozen=True, slots=True)
class Oracle:
    """A source of pairs. `zone` is what its producer took for times that carry none."""

    name: str
    zone: tzinfo
    files: Callable[[Path], Iterator[tuple[Path, Path]]]
    layers: tuple[str, ...] = ()
    """Layers over `std` of the country that its producer maps for."""

    def pairs(self, file: str = "") -> list[Pair]:
        """The pairs whose message's path holds the text `file`. Skips or fails like `shared_path`."""
        folder = shared_path(FOLDER)
        marked = marks(self.name)
        return [
            _pair(folder, message, bundle, marked)
            for message, bundle in sorted(self.files(folder))
            if file in message.as_posix()
        ]


def _pair(folder: Path, message: Path, bundle: Path, marked: tuple[Mark, ...]) -> Pair:
    raw, name = message.read_bytes(), message.relative_to(folder).as_posix()
    said = Said(raw)
    return Pair(name, raw, said, _facts(read(bundle), said, name, marked), marked)


def _facts(bundle: Mapping[str, Any], said: Said, name: str, marked: tuple[Mark, ...]) -> Facts:
    kept = without_unsaid_codings(bundle, said) if _is_reverse(name) else bundle
    return facts_of(kept, said, marked)


def _is_reverse(name: str) -> bool:
    return "/FHIR_to_HL7/" in name


def read(path: Path) -> dict[str, Any]:
    """A bundle in JSON or in FHIR's XML. In XML every element becomes a list: facts have no indices."""
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf").lstrip()
    if content.startswith(b"<"):
        return _resource(ElementTree.fromstring(content))
    found: dict[str, Any] = orjson.loads(content)
    return found


def _prime(folder: Path) -> Iterator[tuple[Path, Path]]:
    for bundle in (folder / "cdc-reportstream").rglob("*.fhir"):
        message = bundle.with_suffix(".hl7")
        if message.exists():
            yield message, bundle


def _microsoft(folder: Path) -> Iterator[tuple[Path, Path]]:
    base = folder / "microsoft-fhir-converter"
    for bundle in (base / "expected").rglob("*-expected.json"):
        yield base / "messages" / bundle.name.replace("-expected.json", ".hl7"), bundle


def _google(folder: Path) -> Iterator[tuple[Path, Path]]:
    end = ".fhir.output.json"
    for bundle in (folder / "google-data-harmonization").glob(f"*.hl7{end}"):
        message = bundle.with_name(bundle.name.removesuffix(end))
        if message.exists():
            yield message, bundle


def _hl7(folder: Path) -> Iterator[tuple[Path, Path]]:
    base = folder / "hl7-v2-to-fhir-samples"
    for message in (base / "messages").iterdir():
        event = message.stem.removeprefix("Message.")
        yield message, base / "fhir-bundles" / f"FHIR_bundle.{event}.json"


ORACLES: Final[Mapping[str, Oracle]] = {
    oracle.name: oracle
    for oracle in (
        Oracle("prime", UTC, _prime, ("us",)),
        Oracle("microsoft", UTC, _microsoft, ("us",)),
        Oracle("google", timezone(timedelta(hours=7)), _google, ("us",)),
        Oracle("hl7", UTC, _hl7),
    )
}


def _resource(element: ElementTree.Element) -> dict[str, Any]:
    kind = _name(element)
    found = _element(element)
    if kind == "Bundle":
        found["entry"] = [_entry(entry) for entry in found.get("entry", [])]
        found = {
            key: value
            for key, value in found.items()
            if key in ("identifier", "timestamp", "entry")
        }
    return {"resourceType": kind} | found


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "fullUrl": (entry.get("fullUrl") or [""])[0],
        "resource": entry.get("resource", [{}])[0],
    }


def _element(element: ElementTree.Element) -> dict[str, Any]:
    found: dict[str, Any] = {"url": url} if (url := element.get("url")) else {}
    for child in element:
        name = _name(child)
        if name == "div":
            continue
        found.setdefault(name, []).append(_value(child, name))
    for key in ("reference", "id"):
        if key in found:
            found[key] = found[key][0]
    return found


def _value(child: ElementTree.Element, name: str) -> Any:
    if name == "resource" and len(child):
        return _resource(child[0])
    return child.get("value") if "value" in child.attrib and not len(child) else _element(child)


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


__all__ = ["ORACLES", "Oracle", "Pair", "read"]
