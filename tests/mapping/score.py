"""`python -m tests.mapping.score`: recall by resource type and oracle, and the facts that are missed most.

python -m tests.mapping.score                                  every oracle
python -m tests.mapping.score --oracle prime --type Patient    one oracle, one resource type
python -m tests.mapping.score --file ADT-A01 --misses 50       messages whose path holds a text
python -m tests.mapping.score --path Patient.name --values     paths that start so, with examples
python -m tests.mapping.score --worst 20                       the messages that lose most
python -m tests.mapping.score --json                           for programs
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import orjson

from tests.mapping.floors import FLOORS, MIN_FACTS
from tests.mapping.mapper import mapper_of
from tests.mapping.oracles import ORACLES
from tests.mapping.scoring import Path, Score, mapped_by, score


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line. Returns the exit code."""
    options = _options(arguments)
    oracles = [ORACLES[name] for name in options.oracle or ORACLES]
    scores = [
        score(one, mapped_by(mapper_of(*one.layers), one), file=options.file, kinds=options.type)
        for one in oracles
    ]
    if options.json:
        sys.stdout.buffer.write(
            orjson.dumps([_json(one) for one in scores], option=orjson.OPT_INDENT_2)
        )
        return 0
    for one in scores:
        _print(one, options)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mapping.score",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--oracle", action="append", choices=sorted(ORACLES), help="only this one (repeatable)")
    add("--type", action="append", default=[], help="only this resource type (repeatable)")
    add("--file", default="", help="only messages whose path holds this text")
    add("--path", default="", help="only paths that start with this text")
    add("--misses", type=int, default=25, metavar="N", help="how many missed paths (default 25)")
    add("--extras", type=int, default=10, metavar="N", help="how many extra paths (default 10)")
    add("--worst", type=int, default=0, metavar="N", help="the N messages that lose most facts")
    add("--values", action="store_true", help="examples of values below each path")
    add("--json", action="store_true", help="everything as JSON")
    return parser.parse_args(arguments)


def _print(found: Score, options: argparse.Namespace) -> None:
    floors = FLOORS.get(found.oracle)
    target = f", target {floors.target:.2f}" if floors else ""
    total = found.overall
    print(
        f"\n{found.oracle}: {found.pairs} pairs, recall {total.recall:.3f}{target}, "
        f"precision {total.precision:.3f}, {found.set_aside} facts set aside by decisions"
    )
    if found.reverse.expected:
        print(
            f"  messages whose bundle it made: recall {found.forward.recall:.3f} of {found.forward.expected}; "
            f"messages that it made of a bundle: {found.reverse.recall:.3f} of {found.reverse.expected}"
        )
    print(
        f"  {'resource type':24}{'expected':>9}{'missed':>8}{'recall':>8}{'extra':>8}{'precision':>11}"
    )
    for kind, tally in sorted(found.types.items(), key=lambda item: -_missed(item[1])):
        low = "  <" if tally.recall < 0.75 and tally.expected >= MIN_FACTS else ""
        print(
            f"  {kind:24}{tally.expected:9}{_missed(tally):8}{tally.recall:8.3f}"
            f"{tally.extra:8}{tally.precision:11.3f}{low}"
        )
    _print_paths(found, options)
    losers = sorted(found.by_pair.items(), key=lambda item: -_missed(item[1]))[: options.worst]
    for name, tally in losers:
        print(f"  {_missed(tally):5} missed of {tally.expected:5}  {name}")


def _print_paths(found: Score, options: argparse.Namespace) -> None:
    paths = [(path, at) for path, at in found.paths.items() if path.startswith(options.path)]
    missed = sorted((one for one in paths if one[1].missed), key=lambda one: -one[1].missed)
    if missed and options.misses:
        print(f"  most missed paths ({len(missed)} in all):")
    for path, at in missed[: options.misses]:
        print(f"  {at.missed:5} missed of {at.expected:5}  {path}{_hint(at)}")
        for example in at.examples if options.values else ():
            print(f"          {example}")
    extra = sorted((one for one in paths if one[1].extra), key=lambda one: -one[1].extra)
    if extra and options.extras:
        print(f"  most extra paths ({len(extra)} in all):")
    for path, at in extra[: options.extras]:
        print(f"  {at.extra:5} extra            {path}")
        for example in at.extra_examples if options.values else ():
            print(f"          {example}")


def _hint(at: Path) -> str:
    hints = [f"{at.other_value} have another value"] if at.other_value else []
    if at.elsewhere:
        path, count = at.elsewhere.most_common(1)[0]
        hints.append(f"{count} stand at {path}")
    return f"   ({', '.join(hints)})" if hints else ""


def _missed(tally: Any) -> int:
    return int(tally.expected - tally.matched)


def _json(found: Score) -> dict[str, Any]:
    def counts(tally: Any) -> dict[str, Any]:
        return {
            "expected": tally.expected,
            "matched": tally.matched,
            "extra": tally.extra,
            "recall": round(tally.recall, 4),
            "precision": round(tally.precision, 4),
        }

    return {
        "oracle": found.oracle,
        "forward": counts(found.forward),
        "reverse": counts(found.reverse),
        "pairs": found.pairs,
        "set_aside": found.set_aside,
        "overall": counts(found.overall),
        "types": {kind: counts(tally) for kind, tally in sorted(found.types.items())},
        "missed": {
            path: {"expected": at.expected, "missed": at.missed, "examples": at.examples}
            for path, at in sorted(found.paths.items(), key=lambda item: -item[1].missed)
            if at.missed
        },
        "extra": {path: at.extra for path, at in found.paths.items() if at.extra},
        "messages": {name: counts(tally) for name, tally in found.by_pair.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
