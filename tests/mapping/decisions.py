"""The decisions of docs/mapping-decisions.md, read from the page itself, so that what is written is what counts."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from tests.mapping.facts import Fact, Facts, Mark
from tests.shared_data import ROOT

PAGE: Final = ROOT / "docs" / "mapping-decisions.md"
_ROW: Final = re.compile(r"\|\s*(\w+)\s*\|\s*`([^`]+)`\s*\|\s*([^|]+?)\s*\|\s*([^|]+?)\s*\|\s*\Z")


_SCOPE: Final = re.compile(r" in ((?:[A-Z]{3}(?:, )?)+)\Z")
_MARK: Final = re.compile(r"([A-Za-z.]+)\[([^\]]+)\]")


@dataclass(frozen=True, slots=True)
class Decision:
    """One kind of fact in which an oracle contradicts the official tables."""

    oracle: str
    fact: str
    """A path, `*` for any text within an element, `path = value` for one value of it, `part[mark].*` for what is in
    parts that bear a mark (`facts.Mark`), and ` in MDM, OML` behind it for messages of these types alone."""
    official: str
    """The official row that decides: table and sort order."""
    why: str

    def covers(self, fact: Fact) -> bool:
        """Whether the fact is one of those that this decision sets aside."""
        return _pattern(self.fact).match(f"{fact[0]} = {fact[1]}") is not None

    def is_about(self, message_type: str) -> bool:
        """Whether it holds for messages of a type."""
        types = _scoped(self.fact)[1]
        return not types or message_type in types

    @property
    def kind(self) -> str:
        """The resource type, or `*`."""
        return re.split(r"[.\[]", self.fact, maxsplit=1)[0]


def _scoped(fact: str) -> tuple[str, tuple[str, ...]]:
    found = _SCOPE.search(fact)
    return (fact[: found.start()], tuple(found[1].split(", "))) if found else (fact, ())


@lru_cache(maxsize=1024)
def _pattern(fact: str) -> re.Pattern[str]:
    path, _, value = _scoped(fact)[0].partition(" = ")
    wild = re.escape(path).replace(r"\*", "[^=]*")
    return re.compile(rf"{wild} = {re.escape(value) if value else '.*'}\Z", re.DOTALL)


def decisions(oracle: str) -> list[Decision]:
    """The decisions about one oracle."""
    rows = (_ROW.match(line.strip()) for line in PAGE.read_text(encoding="utf-8").splitlines())
    return [Decision(*row.groups()) for row in rows if row and row[1] == oracle]


def marks(oracle: str) -> tuple[Mark, ...]:
    """The marks that the decisions about one oracle name."""
    found = (_MARK.match(one.fact) for one in decisions(oracle))
    return tuple({Mark(one[1], one[2]): None for one in found if one})


def set_aside(facts: Facts, made: list[Decision], message_type: str = "") -> tuple[Facts, int]:
    """The facts that no decision covers, and how many were covered."""
    kept: Facts = {}
    covered = 0
    for kind, counted in facts.items():
        rest: Counter[Fact] = Counter()
        relevant = [one for one in made if one.kind in (kind, "*") and one.is_about(message_type)]
        for fact, count in counted.items():
            if any(one.covers(fact) for one in relevant):
                covered += count
            else:
                rest[fact] = count
        if rest:
            kept[kind] = rest
    return kept, covered


__all__ = ["PAGE", "Decision", "decisions", "marks", "set_aside"]
