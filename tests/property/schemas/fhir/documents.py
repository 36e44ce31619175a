"""FHIR documents out of thin air: what a release defines, mixed with what nobody defines."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from schemas.fhir.catalogue import Catalogue
from schemas.fhir.shapes import Kind, Slot
from schemas.fhir.text import Json, Number, write

NUMBERS = ("1.10", "0.000", "1e-400", "1E5", "-0.0", "123456789012345678901234567890.10", "2e400")
TEXTS = ("", "a", "2026-11", '\u0000é😀\u2028"\\', "-0, ", "x" * 300, "1.10", "urn:uuid:0")
BASE64 = ("YQ==", "Y Q==", "YQ", "", "YR==", "aGVsbG8=")
ODD: tuple[Json, ...] = (
    None, "", {}, [], [None], [None, "x"], {"resourceType": "Nope", "a": 1}, {"resourceType": "Patient"},
    True, 0, -1, 2**31, -(2**31) - 1, 2**63, 2**70, [1, "a", None, {"b": []}], [{}], [{}, {"id": "x"}],
    ["", "a"], "YQ==", "Y Q==", [[]], Number("1.10"), Number("1e-400"), [Number("2.00"), 3],
    {"extension": [{"url": "u", "valueDecimal": Number("5.00")}]}, {"resourceType": 7, "id": None},
)  # fmt: skip
STRANGE_KEYS = ("zzz", "_birthDate", "_status", "valueDecimal", "unknown_json", "_given", "id", "contained",
                "_o1", "resourceType", "presence_1", "", "extension", "_value")  # fmt: skip


class Author:
    """Writes documents of one release; the same seed, the same documents."""

    def __init__(self, catalogue: Catalogue, chance: random.Random) -> None:
        self._catalogue = catalogue
        self._chance = chance
        self._resources = sorted(catalogue.resources)

    def resource(self, depth: int = 4) -> dict[str, Json]:
        """A resource of any type that fits its definition, mostly."""
        name = self._chance.choice(self._resources)
        document: dict[str, Json] = {"resourceType": name}
        document.update(self._elements(name, depth))
        return document

    def _elements(self, name: str, depth: int) -> Iterator[tuple[str, Json]]:
        shape = self._catalogue.shape(name)
        count = min(len(shape), self._chance.randint(1, 2 + 2 * depth))
        for slot in self._chance.sample(shape, count):
            if depth or not slot.type:
                yield slot.key, self._value(slot, depth)

    def _value(self, slot: Slot, depth: int) -> Json:
        if not slot.repeated:
            return self._one(slot, depth)
        values = [self._one(slot, depth) for _ in range(self._chance.randint(1, 3))]
        if slot.kind is Kind.SIBLING or (not slot.type and self._chance.random() < 0.3):
            values[self._chance.randrange(len(values))] = None
        return values

    def _one(self, slot: Slot, depth: int) -> Json:
        if slot.type:
            return dict(self._elements(slot.type, depth - 1)) or {"id": "x"}
        match slot.kind:
            case Kind.BOOLEAN:
                return self._pick((True, False))
            case Kind.INTEGER:
                return self._pick((0, 1, -5, 2**31 - 1, -(2**31)))
            case Kind.DECIMAL:
                return self._pick((*map(Number, NUMBERS), 185, -3))
            case Kind.BASE64:
                return self._pick(BASE64)
            case Kind.RESOURCE:
                return (
                    self.resource(depth - 2)
                    if depth > 2
                    else {"resourceType": "Patient", "id": "p"}
                )
            case _:
                return self._pick(TEXTS)

    def _pick(self, values: Sequence[Json]) -> Json:
        return self._chance.choice(values)

    def mutated(self, document: Json) -> bytes:
        """The text of a document with one to four of its places changed into something odd."""
        nodes = list(_nodes(document))
        for _ in range(self._chance.randint(1, 4)):
            node = self._chance.choice(nodes)
            odd = self._chance.choice(ODD)
            if isinstance(node, dict):
                key = self._chance.choice([*node, *STRANGE_KEYS])
                if node is not document or key != "resourceType":
                    node[key] = odd
            elif node:
                node[self._chance.randrange(len(node))] = odd
        return write(document)


def _nodes(value: Json) -> Iterator[dict[str, Json] | list[Json]]:
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from _nodes(each)
    elif isinstance(value, list):
        yield value
        for each in value:
            yield from _nodes(each)


__all__ = ["Author"]
