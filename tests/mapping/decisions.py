"""The decisions of docs/mapping-decisions.md, read from the page itself, so that what is written is what counts."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from tests.mapping.facts import Fact, Facts
from tests.shared_data import ROOT

PAGE: Final = ROOT / "docs" / "mapping-decisions.md"
_ROW: Final = re.compile(r"\|\s*(\w+)\s*\|\s*`([^`]+)`\s*\|\s*([^|]+?)\s*\|\s*([^|]+?)\s*\|\s*\Z")


@dataclass(frozen=True, slots=True)
class Decision:
    """One kind of fact in which an oracle contradicts the official tables."""

    oracle: str
    fact: str
    """A path, `*` for any text within an element, `path = value` for one value of it."""
    official: str
    """The official row that decides: table and sort order."""
    why: str

    def covers(self, fact: Fact) -> bool:
        """Whether the fact is one of those that this decision sets aside."""
        return _pattern(self.fact).match(f"{fact[0]} = {fact[1]}") is not None


@lru_cache(maxsize=1024)
def _pattern(fact: str) -> re.Pattern[str]:
    path, _, value = fact.partition(" = ")
    wild = re.escape(path).replace(r"\*", "[^=]*")
    return re.compile(rf"{wild} = {re.escape(value) if value else '.*'}\Z", re.DOTALL)


def decisions(oracle: str) -> list[Decision]:
    """The decisions about one oracle."""
    rows = (_ROW.match(line.strip()) for line in PAGE.read_text(encoding="utf-8").splitlines())
    return [Decision(*row.groups()) for row in rows if row and row[1] == oracle]


def set_aside(facts: Facts, made: list[Decision]) -> tuple[Facts, int]:
    """The facts that no decision covers, and how many were covered."""
    kept: Facts = {}
    covered = 0
    for kind, counted in facts.items():
        rest: Counter[Fact] = Counter()
        relevant = [one for one in made if one.fact.split(".")[0] in (kind, "*")]
        for fact, count in counted.items():
            if any(one.covers(fact) for one in relevant):
                covered += count
            else:
                rest[fact] = count
        if rest:
            kept[kind] = rest
    return kept, covered


__all__ = ["PAGE", "Decision", "decisions", "set_aside"]
