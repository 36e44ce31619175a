"""FHIRPath filters: compiling, and testing a resource, beside reading its JSON with orjson and beside fhirpathpy.

    python -m benchmarks.fhirpath [--json] [--rounds 5] [--peer PYTHON]

`--peer` names a Python that has fhirpathpy (`python -m venv peer && peer/bin/pip install fhirpathpy`); without it, only
our numbers are printed. Both run the same paths on the same resource, in interleaved rounds; the best round counts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import timeit
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from schemas.fhirpath import compile_path
from schemas.fhirpath.path import Path

CODES = " | ".join(f"'{number}-7'" for number in range(700, 740))
FILTERS = {
    "code": "Observation.code.coding.where(system='http://loinc.org' and code='718-7').exists()",
    "status": "Observation.status = 'final'",
    "category": "Observation.category.coding.exists(code = 'laboratory') and status != 'cancelled'",
    "value": "Observation.value.value > 10.5",
    "one of 40": f"Observation.code.coding.exists(code in ({CODES}))",
    "type": "Observation.value.ofType(Quantity).unit = 'g/dL'",
    "everywhere": "Observation.descendants().where(code = 'L').exists()",
}
OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "example",
    "meta": {"lastUpdated": "2026-03-01T10:30:00Z", "profile": ["http://example.com/lab"]},
    "identifier": [{"system": "http://example.com/ids", "value": "1234567890"}],
    "status": "final",
    "category": [
        {"coding": [{"system": "http://example.com/categories", "code": "laboratory"}]},
    ],
    "code": {
        "coding": [
            {"system": "http://example.com/codes", "code": "hb", "display": "Haemoglobin"},
            {"system": "http://loinc.org", "code": "718-7", "display": "Hemoglobin in Blood"},
        ],
        "text": "Haemoglobin",
    },
    "subject": {"reference": "Patient/example"},
    "encounter": {"reference": "Encounter/example"},
    "effectiveDateTime": "2026-03-01T09:30:00+01:00",
    "issued": "2026-03-01T10:30:00Z",
    "performer": [{"reference": "Organization/laboratory"}],
    "valueQuantity": {
        "value": 13.2,
        "unit": "g/dL",
        "system": "http://unitsofmeasure.org",
        "code": "g/dL",
    },
    "interpretation": [{"coding": [{"system": "http://example.com/flags", "code": "N"}]}],
    "referenceRange": [{"low": {"value": 12.0, "unit": "g/dL"}, "high": {"value": 15.5}}],
}
PEER = """
import json, sys, timeit
from fhirpathpy import compile
from fhirpathpy.models import models
filters, resource = json.loads(sys.stdin.read())
out = {}
for name, text in filters.items():
    path = compile(text, models["r4"])
    number = 50
    out[name] = min(timeit.repeat(lambda: path(resource), number=number, repeat=3)) / number * 1e6
print(json.dumps(out))
"""


def microseconds(work: Callable[[], object], number: int) -> float:
    """The best of three, per call."""
    return min(timeit.repeat(work, number=number, repeat=3)) / number * 1e6


def measured(path: Path) -> float:
    """Microseconds to test the resource."""
    return microseconds(lambda: path.test(OBSERVATION), 2_000)


def peer_round(python: str) -> dict[str, float]:
    """Microseconds of fhirpathpy by filter."""
    given = json.dumps([FILTERS, OBSERVATION])
    done = subprocess.run(
        [python, "-c", PEER], input=given, capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer")
    options = parser.parse_args()
    text = orjson.dumps(OBSERVATION)
    paths = {name: compile_path(source) for name, source in FILTERS.items()}
    best: dict[str, dict[str, float]] = {name: {} for name in FILTERS}

    def note(name: str, what: str, value: float) -> None:
        best[name][what] = min(value, best[name].get(what, value))

    for _ in range(options.rounds):
        read = microseconds(lambda: orjson.loads(text), 2_000)
        for name, path in paths.items():
            note(name, "orjson", read)
            note(name, "test", measured(path))
            note(name, "compile", microseconds(partial(compile_path, FILTERS[name]), 20))
        if options.peer:
            for name, value in peer_round(options.peer).items():
                note(name, "peer", value)
    if options.json:
        json.dump({"bytes": len(text), "microseconds": best}, sys.stdout)
        return
    print(f"an Observation of {len(text)} bytes; microseconds, best of {options.rounds} rounds")
    print(
        f"{'filter':12}{'compile':>10}{'test':>10}{'x orjson.loads':>16}{'fhirpathpy':>12}{'ratio':>8}"
    )
    for name, row in best.items():
        peer = row.get("peer")
        ratio = f"{peer:12.0f}{peer / row['test']:7.0f}x" if peer else ""
        print(
            f"{name:12}{row['compile']:10.0f}{row['test']:10.2f}"
            f"{row['test'] / row['orjson']:15.2f}x{ratio}"
        )


if __name__ == "__main__":
    main()
