"""HL7 v2: our codec against python-hl7, on the public sample messages, in one interleaved run.

    python -m benchmarks.hl7v2_parse [--json] [--rounds N]

CPU time of this process; each round runs every case once, and the median of the rounds counts. Trust the ratios.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import hl7

from adapters.hl7v2.codec.acknowledgement import AckCode, build_acknowledgement
from adapters.hl7v2.codec.batch import MessageFound, split_messages
from adapters.hl7v2.codec.filter import compile_filter
from adapters.hl7v2.codec.header import peek
from adapters.hl7v2.codec.message import Message
from adapters.hl7v2.codec.patient import patient_key

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("MEDMESH_SHARED", ROOT.parent / "shared")) / "data/hl7v2"
TARGET_RATIO = 50
TARGET_PEEK_US = 10
ORACLE_SAMPLE = 24
OURS_REPEATS = 4

OWN_SAMPLES = [
    b"MSH|^~\\&|EMR|MAIN|HIS|MAIN|20240101||ADT^A01^ADT_A01|1|P|2.5.1||||||UNICODE UTF-8\r"
    b"EVN|A01|20240101\rPID|1||123^^^MAIN^MR~99^^^SSA^SS||DOE^JANE^Q||19800101|F|||1 MAIN ST^^TOWN\r"
    b"PV1|1|I|4W^401^1^MAIN||||2001^HOUSE^GREGORY\r"
    + b"AL1|1|DA|70618^PENICILLIN^RXNORM|MO|RASH\r"
    * 6
]

Case = tuple[Callable[[], object], int]


def samples() -> tuple[list[bytes], str]:
    """Sample messages with CR line ends (all that python-hl7 reads), and where they come from."""
    files = sorted(SHARED.rglob("*.hl7")) if SHARED.exists() else []
    found = [
        re.sub(rb"\r\n|\n", b"\r", event.raw)
        for path in files
        for event in split_messages([path.read_bytes()])
        if isinstance(event, MessageFound)
    ]
    usable = [raw for raw in found if _oracle_reads(raw)]
    return (usable, "public samples") if usable else (OWN_SAMPLES, "own sample")


def _oracle_reads(raw: bytes) -> bool:
    return raw.startswith(b"MSH|^~\\&|") and b"\r\r" not in raw and len(raw) < 20_000


def every_field(raw: bytes) -> None:
    """Split every segment into fields."""
    for segment in Message.parse(raw).segments():
        len(segment.fields)


def every_leaf(raw: bytes) -> None:
    """Split down to subcomponents, as python-hl7 does when it parses."""
    for segment in Message.parse(raw).segments():
        for number in range(1, len(segment.fields)):
            for repetition in segment.repetitions(number):
                for component in repetition.split(b"^"):
                    component.split(b"&")


def document(base64_bytes: int) -> bytes:
    return OWN_SAMPLES[0] + b"OBX|1|ED|a^b||^IM^PDF^Base64^" + b"QUJD" * (base64_bytes // 4) + b"\r"


def cases(raws: list[bytes]) -> dict[str, Case]:
    """Name to a function and how many messages one call handles."""
    few = raws[:: max(1, len(raws) // ORACLE_SAMPLE)][:ORACLE_SAMPLE]
    texts = [raw.decode() for raw in few]
    headers = [peek(raw) for raw in few]
    wanted = compile_filter("MSH-9.1 in ('ADT', 'ORM') and PID-3 valued")
    large = document(4 * 1024 * 1024)
    large_text = large.decode()

    def ours(work: Callable[[bytes], object]) -> Case:
        def run() -> None:
            for _ in range(OURS_REPEATS):
                for raw in few:
                    work(raw)

        return run, len(few) * OURS_REPEATS

    def acknowledge() -> None:
        for header in headers:
            build_acknowledgement(header, AckCode.AA, control_id="1", now_ms=1_800_000_000_000)

    return {
        "python-hl7 parse + serialise": (
            lambda: [str(hl7.parse(text)) for text in texts],
            len(few),
        ),
        "parse + serialise": ours(lambda raw: Message.parse(raw).to_bytes()),
        "all fields split": ours(every_field),
        "all leaves split": ours(every_leaf),
        "edit one field": ours(_edit),
        "peek": ours(peek),
        "peek + patient key": ours(lambda raw: patient_key(raw, peek(raw))),
        "filter": ours(wanted),
        "acknowledgement": (acknowledge, len(headers)),
        "4 MB parse + serialise": (lambda: Message.parse(large).to_bytes(), 1),
        "4 MB read the document": (lambda: Message.parse(large).get("OBX-5.5"), 1),
        "python-hl7 4 MB parse + serialise": (lambda: str(hl7.parse(large_text)), 1),
        "python-hl7 4 MB read the document": (lambda: hl7.parse(large_text)["OBX.F5.R1.C5"], 1),
    }


def _edit(raw: bytes) -> bytes:
    message = Message.parse(raw)
    message.set("MSH-10", "EDITED-1")
    return message.to_bytes()


def measure(rounds: int) -> dict[str, object]:
    """Run all cases, interleaved; microseconds a message and ratios."""
    raws, origin = samples()
    work = cases(raws)
    times: dict[str, list[float]] = {name: [] for name in work}
    gc.collect()
    gc.disable()
    for _ in range(rounds):
        for name, (run, count) in work.items():
            start = time.process_time()
            run()
            times[name].append((time.process_time() - start) / count * 1e6)
    gc.enable()
    micros = {name: statistics.median(seen) for name, seen in times.items()}
    baseline = micros["python-hl7 parse + serialise"]
    compared = {
        name: micros.get(f"python-hl7 {name}", baseline) / micros[name]
        for name in micros
        if not name.startswith("python-hl7")
    }
    # these answer a question that has no counterpart in python-hl7
    ratios = {n: r for n, r in compared.items() if n not in ("peek", "filter", "acknowledgement")}
    ok = ratios["parse + serialise"] >= TARGET_RATIO and micros["peek"] <= TARGET_PEEK_US
    return {
        "samples": {
            "from": origin,
            "messages": len(raws),
            "mean_bytes": round(statistics.mean(map(len, raws))),
        },
        "rounds": rounds,
        "cpu_us_per_message": {name: round(value, 2) for name, value in micros.items()},
        "times_python_hl7": {name: round(value, 1) for name, value in ratios.items()},
        "targets": {"parse + serialise": TARGET_RATIO, "peek_us": TARGET_PEEK_US, "met": ok},
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
        for title in ("samples", "cpu_us_per_message", "times_python_hl7", "targets"):
            print(title.replace("_", " "))
            section = result[title]
            assert isinstance(section, dict)
            for name, value in section.items():
                print(f"  {name:36} {value:>12}")
    targets = result["targets"]
    assert isinstance(targets, dict)
    return 0 if targets["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
