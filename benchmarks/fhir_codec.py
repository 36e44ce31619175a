"""FHIR: our codec and projection against fhir.resources and protobuf's json_format, in one interleaved run.

    python -m benchmarks.fhir_codec [--json] [--rounds N]

CPU time of this process; each round runs every case once over the same documents, and the median of the rounds counts.
Trust the ratios. Every example at hand is also taken to protobuf and back: all must come back identical.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import orjson
from fhir.resources.R4B import get_fhir_model_class
from google.protobuf import json_format
from pydantic import BaseModel, ValidationError

from schemas.fhir import FhirCodec, Release, project, read
from schemas.fhir.encoder import resource_type_of
from schemas.fhir.roundtrip import RoundTrip, Verdict

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("MEDMESH_SHARED", ROOT.parent / "shared")) / "data/fhir"
TARGET_RATIO = 8
MAX_DOCUMENTS = 30
OURS_REPEATS = 8
CLINICAL = frozenset(
    {
        *("AllergyIntolerance", "Appointment", "Condition", "DiagnosticReport"),
        *("DocumentReference", "Encounter", "Immunization", "Medication", "MedicationRequest"),
        *("Observation", "Patient", "Practitioner", "Procedure", "ServiceRequest", "Specimen"),
    }
)
EXAMPLES = [
    (Release.R4, "r4-examples"),
    (Release.R4, "synthea-r4"),
    (Release.R4B, "r4b-examples"),
    (Release.R5, "r5-examples"),
]
OWN_SAMPLE = orjson.dumps(
    {
        "resourceType": "Observation",
        "id": "hb",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
        "subject": {"reference": "Patient/17"},
        "effectiveDateTime": "2026-11-22T08:15:00+00:00",
        "valueQuantity": {"value": 13.5, "unit": "g/dl"},
        "referenceRange": [{"low": {"value": 7.5}, "high": {"value": 10}}] * 4,
    }
)

Case = tuple[Callable[[], object], int]


def minified(raw: bytes) -> bytes:
    """Without white space, the text of numbers kept."""
    return msgspec.json.format(raw, indent=-1)


def documents() -> tuple[list[bytes], str]:
    """Clinical R4 examples that fhir.resources' R4B models accept, and where they come from."""
    folder = SHARED / "r4-examples"
    found = [minified(path.read_bytes()) for path in sorted(folder.glob("*.json"))]
    usable = [raw for raw in found if resource_type_of(raw) in CLINICAL and _validated(raw)]
    usable = usable[:: max(1, len(usable) // MAX_DOCUMENTS)][:MAX_DOCUMENTS]
    return (usable, "official R4 examples") if usable else ([OWN_SAMPLE], "own sample")


def bundle() -> bytes:
    """A patient's history as one Bundle, and the smallest of them at that."""
    paths = sorted((SHARED / "synthea-r4").glob("*_*.json"), key=lambda path: path.stat().st_size)
    if paths:
        return minified(paths[0].read_bytes())
    entry = b'{"resource":' + OWN_SAMPLE + b"}"
    return b'{"resourceType":"Bundle","type":"batch","entry":[' + b",".join([entry] * 50) + b"]}"


def _validated(raw: bytes) -> BaseModel | None:
    try:
        model: BaseModel = get_fhir_model_class(resource_type_of(raw)).model_validate_json(raw)
    except ValidationError:
        return None
    return model


def cases(raws: list[bytes], large: bytes) -> dict[str, Case]:
    """Name to a function and how many documents one call handles."""
    codec = FhirCodec(Release.R4)
    named = [(raw, resource_type_of(raw)) for raw in raws]
    classes = [get_fhir_model_class(name) for _, name in named]
    models = [model for raw in raws if (model := _validated(raw))]
    encoded = [codec.encode(raw) for raw in raws]
    messages = [codec.open(each) for each in encoded]
    texts = [json_format.MessageToJson(message) for message in messages]
    large_class = get_fhir_model_class("Bundle")
    large_model = large_class.model_validate_json(large)
    large_encoded = codec.encode(large)

    def ours(work: Callable[[], object], count: int = len(raws)) -> Case:
        def run() -> None:
            for _ in range(OURS_REPEATS):
                work()

        return run, count * OURS_REPEATS

    def validate() -> None:
        for cls, raw in zip(classes, raws, strict=True):
            cls.model_validate_json(raw)

    def parse_proto_json() -> None:
        for message, text in zip(messages, texts, strict=True):
            json_format.Parse(text, type(message)())

    return {
        "fhir.resources validate": (validate, len(raws)),
        "fhir.resources dump": (lambda: [model.model_dump_json() for model in models], len(raws)),
        "json_format parse": (parse_proto_json, len(raws)),
        "json_format write": (lambda: [*map(json_format.MessageToJson, messages)], len(raws)),
        "JSON to protobuf": ours(lambda: [codec.encode(raw) for raw in raws]),
        "protobuf to JSON": ours(lambda: [codec.decode(each) for each in encoded]),
        "projection": ours(lambda: [project(raw) for raw in raws]),
        "typed read": ours(lambda: [read(raw, name, Release.R4) for raw, name in named]),
        "orjson loads": ours(lambda: [orjson.loads(raw) for raw in raws]),
        "verified JSON to protobuf": ours(lambda: [codec.encode(raw, verify=True) for raw in raws]),
        "fhir.resources validate Bundle": (lambda: large_class.model_validate_json(large), 1),
        "fhir.resources dump Bundle": (large_model.model_dump_json, 1),
        "JSON to protobuf Bundle": ours(lambda: codec.encode(large), 1),
        "protobuf to JSON Bundle": ours(lambda: codec.decode(large_encoded), 1),
        "projection Bundle": ours(lambda: project(large), 1),
        "orjson loads Bundle": ours(lambda: orjson.loads(large), 1),
    }


def identical() -> dict[str, str]:
    """Folder of examples to `identical of all`."""
    found = {}
    for release, folder in EXAMPLES:
        trip = RoundTrip(release)
        for path in (SHARED / folder).glob("*.json"):
            trip.take(path.read_bytes())
        found[folder] = f"{trip.verdicts[Verdict.IDENTICAL]} of {trip.verdicts.total()}"
    return found


RATIOS = {
    "JSON to protobuf, against validate": ("fhir.resources validate", "JSON to protobuf"),
    "protobuf to JSON, against dump": ("fhir.resources dump", "protobuf to JSON"),
    "Bundle to protobuf, against validate": (
        "fhir.resources validate Bundle", "JSON to protobuf Bundle",
    ),
    "Bundle to JSON, against dump": ("fhir.resources dump Bundle", "protobuf to JSON Bundle"),
    "JSON to protobuf, against json_format": ("json_format parse", "JSON to protobuf"),
    "protobuf to JSON, against json_format": ("json_format write", "protobuf to JSON"),
    "projection, against validate": ("fhir.resources validate", "projection"),
    "typed read, against validate": ("fhir.resources validate", "typed read"),
    "projection of a Bundle, against orjson": ("orjson loads Bundle", "projection Bundle"),
}  # fmt: skip
TARGETS = list(RATIOS)[:4]


def measure(rounds: int) -> dict[str, object]:
    """Run all cases, interleaved; microseconds a document and ratios."""
    raws, origin = documents()
    large = bundle()
    work = cases(raws, large)
    times: dict[str, list[float]] = {name: [] for name in work}
    for run, _ in work.values():
        run()
    gc.collect()
    gc.disable()
    for _ in range(rounds):
        for name, (run, count) in work.items():
            start = time.process_time()
            run()
            times[name].append((time.process_time() - start) / count * 1e6)
        gc.collect()
    gc.enable()
    micros = {name: statistics.median(seen) for name, seen in times.items()}
    ratios = {name: micros[theirs] / micros[ours] for name, (theirs, ours) in RATIOS.items()}
    examples = identical()
    all_same = all(len(set(text.split(" of "))) == 1 for text in examples.values())
    return {
        "documents": {
            "from": origin,
            "count": len(raws),
            "mean_bytes": round(statistics.mean(map(len, raws))),
            "bundle_bytes": len(large),
        },
        "identical": examples,
        "rounds": rounds,
        "cpu_us_per_document": {name: round(value, 2) for name, value in micros.items()},
        "times": {name: round(value, 1) for name, value in ratios.items()},
        "targets": {
            "at_least": TARGET_RATIO,
            "met": all_same and all(ratios[name] >= TARGET_RATIO for name in TARGETS),
        },
    }


def main() -> int:
    """Print the ratios; exit code 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=15, help="how often each case runs (15)")
    options = parser.parse_args()
    result = measure(options.rounds)
    if options.json:
        print(json.dumps(result))
    else:
        for title in ("documents", "identical", "cpu_us_per_document", "times", "targets"):
            print(title.replace("_", " "))
            section = result[title]
            assert isinstance(section, dict)
            for name, value in section.items():
                print(f"  {name:40} {value:>20}")
    targets = result["targets"]
    assert isinstance(targets, dict)
    return 0 if targets["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
