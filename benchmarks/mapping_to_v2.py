"""FHIR to HL7 v2: messages a second on one core with the shipped tables, and what the guards of rules save.

    python -m benchmarks.mapping_to_v2 [--json] [--rounds N]

CPU time of this process; each round writes every message a few times, interleaved, and the median of the rounds counts.
`without guards` runs each rule of a document for each element, as a writer that knows nothing of them has to.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from unittest import mock

from adapters.hl7v2.codec import Message
from adapters.hl7v2.mapping import Json, MapContext, Output, default_mapper, to_json
from adapters.hl7v2.reverse import (
    WriteContext,
    Writer,
    compile_writer,
    load_reverse_tables,
    read_fhir_json,
)
from benchmarks.mapping import admission, report

TIMES_FASTER = 1.5
"""Than without guards, for a report with 20 results."""
REPEATS = 5
CONTEXT = WriteContext(time=datetime(2026, 3, 1, 10, 0, tzinfo=UTC), control_id="BENCH")


def bundles() -> dict[str, Json]:
    """What `hl7v2.to-fhir` makes of the messages of benchmarks/mapping.py; synthetic."""
    context = MapContext(tenant="bench", zone=UTC, output=Output.MESSAGE)
    found: dict[str, Json] = {}
    for name, raw in (("ADT", admission()), ("ORU with 20 OBX", report())):
        bundle = default_mapper().map(Message.parse(raw), context).bundle
        assert bundle is not None
        found[name] = read_fhir_json(to_json(bundle))
    return found


def _unguarded() -> Writer:
    """The same tables, each rule run for each element and each path by FHIRPath alone."""
    with (
        mock.patch("adapters.hl7v2.reverse.compiler.Compiler._needs", return_value=()),
        mock.patch("adapters.hl7v2.reverse.sources.needs_of_path", return_value=()),
        mock.patch("adapters.hl7v2.reverse.sources.needs_of_test", return_value=()),
        mock.patch("adapters.hl7v2.reverse.sources.quick_path", return_value=None),
        mock.patch("adapters.hl7v2.reverse.sources.quick_test", return_value=None),
    ):
        return compile_writer(load_reverse_tables())


def cases() -> dict[str, Callable[[], object]]:
    """Name to the work for one message."""
    writer, plain = compile_writer(load_reverse_tables()), _unguarded()
    out: dict[str, Callable[[], object]] = {}
    for name, bundle in bundles().items():
        assert writer.write(bundle, CONTEXT).message == plain.write(bundle, CONTEXT).message
        out[name] = lambda bundle=bundle: writer.write(bundle, CONTEXT)  # type: ignore[misc]
        out[f"{name} without guards"] = lambda bundle=bundle: plain.write(bundle, CONTEXT)  # type: ignore[misc]
    return out


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Run all cases, interleaved."""
    work = cases()
    seen: dict[str, list[float]] = {name: [] for name in work}
    gc.collect()
    gc.disable()
    for _ in range(rounds):
        for name, run in work.items():
            start = time.process_time()
            for _ in range(REPEATS):
                run()
            seen[name].append((time.process_time() - start) / REPEATS)
        gc.collect()
    gc.enable()
    spent = {name: statistics.median(times) for name, times in seen.items()}
    return {
        "messages_per_cpu_second": {name: round(1 / one) for name, one in spent.items()},
        "cpu_ms": {name: round(one * 1000, 2) for name, one in spent.items()},
        "times_faster": {
            name: round(spent[f"{name} without guards"] / spent[name], 1) for name in bundles()
        },
        "budgets": {"ORU with 20 OBX, times faster": TIMES_FASTER},
    }


def main() -> int:
    """Print rates and ratios; exit code 1 when the budget is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=9, help="how often each case runs (9)")
    options = parser.parse_args()
    result = measure(options.rounds)
    if options.json:
        print(json.dumps(result))
    else:
        for title, section in result.items():
            print(title.replace("_", " "))
            for name, value in section.items():
                print(f"  {name:40} {value:>10}")
    return 0 if result["times_faster"]["ORU with 20 OBX"] >= TIMES_FASTER else 1


if __name__ == "__main__":
    sys.exit(main())
