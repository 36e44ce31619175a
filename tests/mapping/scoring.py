"""Recall and precision of facts, and what is behind them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from adapters.hl7v2.codec import Message
from adapters.hl7v2.mapping.protocol import MapContext, Mapper
from tests.mapping.decisions import decisions, set_aside
from tests.mapping.facts import Facts
from tests.mapping.mapper import written
from tests.mapping.oracles import Oracle, Pair

MADE = Callable[[Pair], Facts]
"""What a producer made of a pair's message."""
_EXAMPLES = 3


@dataclass(slots=True)
class Tally:
    """Counts of one resource type."""

    expected: int = 0
    matched: int = 0
    extra: int = 0

    @property
    def recall(self) -> float:
        """Matched of expected; 1.0 when nothing is expected."""
        return self.matched / self.expected if self.expected else 1.0

    @property
    def precision(self) -> float:
        """Matched of all that was made; 1.0 when nothing was."""
        made = self.matched + self.extra
        return self.matched / made if made else 1.0

    def add(self, other: Tally) -> None:
        """Add another's counts."""
        self.expected += other.expected
        self.matched += other.matched
        self.extra += other.extra


@dataclass(slots=True)
class Path:
    """What happened at one path over all pairs."""

    expected: int = 0
    missed: int = 0
    other_value: int = 0
    """Of the missed: the same message has another value at this path."""
    extra: int = 0
    elsewhere: Counter[str] = field(default_factory=Counter)
    """Paths at which the missed values stand instead."""
    examples: list[str] = field(default_factory=list)
    extra_examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Score:
    """The result of one oracle."""

    oracle: str
    pairs: int = 0
    types: dict[str, Tally] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=lambda: defaultdict(Path))
    set_aside: int = 0
    """Expected facts that decisions leave out."""
    by_pair: dict[str, Tally] = field(default_factory=dict)
    forward: Tally = field(default_factory=Tally)
    """Of messages whose bundle the oracle made."""
    reverse: Tally = field(default_factory=Tally)
    """Of messages that the oracle made of the bundle."""

    @property
    def overall(self) -> Tally:
        """All types together."""
        total = Tally()
        for tally in self.types.values():
            total.add(tally)
        return total


def mapped_by(mapper: Mapper, oracle: Oracle) -> MADE:
    """The facts that a mapper makes of a pair, in the oracle's zone."""
    context = MapContext(tenant="score", zone=oracle.zone)

    def made(pair: Pair) -> Facts:
        bundle = mapper.map(Message.parse(pair.raw), context).bundle
        return pair.facts(written(bundle)) if bundle else {}

    return made


def score(oracle: Oracle, made: MADE, *, file: str = "", kinds: Iterable[str] = ()) -> Score:
    """Compare what was made of each pair with what is expected, resource type by resource type, as multisets."""
    found = Score(oracle.name)
    made_decisions = decisions(oracle.name)
    wanted = frozenset(kinds)
    for pair in oracle.pairs(file):
        expected, covered = set_aside(
            _only(pair.expected, wanted), made_decisions, pair.message_type
        )
        actual, _ = set_aside(_only(made(pair), wanted), made_decisions, pair.message_type)
        found.set_aside += covered
        found.pairs += 1
        found.by_pair[pair.name] = total = Tally()
        where, short = _paths_by_value(actual), pair.name.rpartition("/")[2]
        for kind in expected.keys() | actual.keys():
            tally = _compare(short, expected.get(kind), actual.get(kind), found.paths, where)
            found.types.setdefault(kind, Tally()).add(tally)
            total.add(tally)
        (found.reverse if pair.is_reverse else found.forward).add(total)
    return found


def _only(facts: Facts, kinds: frozenset[str]) -> Facts:
    return {kind: counted for kind, counted in facts.items() if not kinds or kind in kinds}


def _paths_by_value(facts: Facts) -> dict[str, set[str]]:
    where: defaultdict[str, set[str]] = defaultdict(set)
    for counted in facts.values():
        for path, value in counted:
            where[value].add(path)
    return where


def _compare(
    name: str,
    expected: Counter[tuple[str, str]] | None,
    actual: Counter[tuple[str, str]] | None,
    paths: dict[str, Path],
    where: dict[str, set[str]],
) -> Tally:
    expected, actual = expected or Counter(), actual or Counter()
    missed, extra = expected - actual, actual - expected
    spare: defaultdict[str, list[str]] = defaultdict(list)
    for (path, value), count in extra.items():
        spare[path] += [value] * count
        at = paths[path]
        at.extra += count
        if len(at.extra_examples) < _EXAMPLES:
            at.extra_examples.append(f"{value!r:.60} ({name})")
    for (path, _), count in expected.items():
        paths[path].expected += count
    for (path, value), count in missed.items():
        _note(paths[path], path, value, count, spare[path], name, where.get(value, set()))
    wanted, lost = expected.total(), missed.total()
    return Tally(wanted, wanted - lost, extra.total())


def _note(
    at: Path, path: str, value: str, count: int, spare: list[str], name: str, elsewhere: set[str]
) -> None:
    at.missed += count
    instead = [spare.pop() for _ in range(min(count, len(spare)))]
    at.other_value += len(instead)
    if len(value) > 2 and value != "true" and value[0] != "→":
        at.elsewhere.update(elsewhere - {path})
    if len(at.examples) < _EXAMPLES:
        got = f" got {instead[0]!r:.60}" if instead else ""
        at.examples.append(f"want {value!r:.60}{got} ({name})")


__all__ = ["MADE", "Path", "Score", "Tally", "mapped_by", "score"]
