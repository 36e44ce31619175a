"""Scores of the way to HL7 v2: leaves of expected messages that stand at the same place of ours."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from adapters.hl7v2.codec import Message, MessageFound, split_messages
from adapters.hl7v2.reverse import WriteContext, default_writer, read_fhir_json

Leaf = tuple[str, int, int, int, str]
"""Segment, field, component, subcomponent, value."""
CONTEXT = WriteContext(
    time=datetime(2023, 5, 6, 5, 29, 16, tzinfo=UTC),
    control_id="1",
    parameters={"order_control": "NW"},
)
_OWN = {("MSH", 7), ("MSH", 10), ("MSH", 1), ("MSH", 2)}
_NUMBER = re.compile(r"\d{8,}")


@dataclass
class Score:
    """Leaves found of those expected."""

    found: int = 0
    expected: int = 0
    missing: Counter[str] = field(default_factory=Counter)

    @property
    def recall(self) -> float:
        """0 to 1."""
        return self.found / self.expected if self.expected else 0.0

    def add(self, expected: Counter[Leaf], ours: Counter[Leaf]) -> None:
        """Count one pair."""
        self.expected += expected.total()
        self.found += (expected & ours).total()
        for (segment, number, component, sub, _), count in (expected - ours).items():
            self.missing[f"{segment}-{number}.{component}.{sub}"] += count


def leaves(raw: bytes) -> Counter[Leaf]:
    """Every valued leaf of a message, without what the event and the delimiters decide."""
    message = Message.parse(raw, charset="UNICODE UTF-8")
    found: Counter[Leaf] = Counter()
    for segment in message.segments():
        for number in range(1, 60):
            if (segment.name, number) in _OWN:
                continue
            for repetition in message.parts(segment, number):
                for i, component in enumerate(repetition, 1):
                    subs = [component] if isinstance(component, str) else component
                    for j, text in enumerate(subs, 1):
                        if value := _normal(text):
                            found[segment.name, number, i, j, value] += 1
    return found


def _normal(text: str) -> str:
    """Times to their minute, as senders differ in offsets and fractions."""
    text = " ".join(text.split())
    return text[:8] if _NUMBER.match(text) and re.match(r"(19|20)\d{6}", text) else text


def values(resource: object) -> set[str]:
    """The texts of a resource, dates as messages write them."""
    out: set[str] = set()
    for text in _texts(resource):
        out.add(_normal(text))
        out.add(_normal(re.sub(r"[-:T]", "", text)))
        out.add(text.removeprefix("urn:oid:"))
    return out


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value
    elif value is not None:
        yield str(value)


def carried(expected: Counter[Leaf], resource: object) -> Counter[Leaf]:
    """The leaves of a message whose value stands in the resource: not what a receiver's settings put in."""
    known = values(resource)
    return Counter({leaf: count for leaf, count in expected.items() if leaf[4] in known})


def messages(path: Path) -> list[bytes]:
    """The messages of a file."""
    return [one.raw for one in split_messages([path.read_bytes()]) if isinstance(one, MessageFound)]


def without_extensions(value: object) -> object:
    """A resource without what a producer's own extensions say."""
    if isinstance(value, dict):
        return {
            key: without_extensions(inner)
            for key, inner in value.items()
            if key not in ("extension", "modifierExtension", "meta")
        }
    return [without_extensions(one) for one in value] if isinstance(value, list) else value


def score_pairs(folder: Path) -> tuple[Score, Score, int, int]:
    """Recall of all leaves, of those whose value the standard elements hold; pairs; messages written."""
    every, held, pairs, written = Score(), Score(), 0, 0
    writer = default_writer()
    for path in sorted(folder.rglob("*.fhir")):
        twin = path.with_suffix(".hl7")
        if not twin.exists():
            continue
        resource = read_fhir_json(path.read_bytes())
        result = writer.write(resource, CONTEXT)
        expected = leaves(messages(twin)[0])
        pairs += 1
        written += not result.failed
        ours = leaves(result.message) if result.message else Counter[Leaf]()
        every.add(expected, ours)
        held.add(carried(expected, without_extensions(json.loads(path.read_text()))), ours)
    return every, held, pairs, written
