"""HL7 v2 to FHIR: messages a second on one core with the shipped tables, and the cold start of `medmesh map`.

    python -m benchmarks.mapping [--json] [--rounds N]

CPU time of this process; each round runs every case once, interleaved, and the median of the rounds counts. The cold
start is CPU time of a whole process, beside one that only starts Python. Each message is about a patient of its own;
the clinicians and wards of the usual ones come again, as in a hospital.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC
from pathlib import Path

from adapters.hl7v2.codec import Message
from adapters.hl7v2.mapping import MapContext, Mapper, Output, default_mapper, to_json

ADT_TARGET = 2000
ORU_TARGET = 1000
COLD_ROUNDS = 5
REPEATS = 20
COLLECTED = ", collector on"
"""The garbage collector is off in the other cases, which are about the work; in a service it is on."""
STAFF = 40
"""Groups of clinicians and wards that the usual messages are of; all of them are met before the clock starts."""
MESSAGES = 2_000
"""Different messages of a case: each is about another patient."""

_HEAD = "MSH|^~\\&|EMR|NORTH|HIS|NORTH|20260301100000+0100||{kind}|C1|P|2.5.1||||||UNICODE UTF-8"
_PID = (
    "PID|1||P4711^^^NORTH^MR~99887766^^^NATIONAL^NI||EXAMPLE^PATIENT^Q^JR^DR^^L~SAMPLE^PATIENT^^^^^M||19700101|F||2106-3^White^CDCREC"
    "|1 TEST STREET^^TESTTOWN^TS^12345^DEU^H||^PRN^PH^^49^30^1234567"
    "|^WPN^PH^^49^30^7654321|de^German^ISO639|M^Married^HL70002||A1^^^NORTH^AN"
)
_PV1 = (
    "PV1|1|I|W1^R1^B1^NORTH^^^^^S|E||W2^R2^B2|1001^DOCTOR^ONE^^^^MD^^NORTH^L|1002^DOCTOR^TWO|1003^DOCTOR^THREE|MED||||7|||1004^DOCTOR^FOUR"
    "||V1^^^NORTH^VN|||||||||||||||||||||||||20260301093000+0100"
)


def varied(raw: bytes, patient: int, staff: int) -> bytes:
    """A message about another patient (numbers, names, birth, street, times) and of other staff, at another ward."""
    changes = {
        b"P4711": b"P%d" % (4711 + patient),
        b"99887766": b"%d" % (99887766 + patient),
        b"EXAMPLE^": b"EXAMPLE%s^" % _letters(patient),
        b"19700101": b"19%02d%02d%02d" % (patient % 100, patient % 12 + 1, patient % 28 + 1),
        b"|1 TEST STREET": b"|%d TEST STREET" % (1 + patient),
        b"|V1^": b"|V%d^" % (1 + patient),
        b"A1^^^NORTH^AN": b"A%d^^^NORTH^AN" % (1 + patient),
        b"|C1|": b"|C%d|" % (1 + patient),
        b"20260301": b"202603%02d" % (1 + patient % 28),
        b".50|mmol": b".%02d|mmol" % (patient % 100),
        **{b"100%d^" % n: b"%d^" % (1000 + 7 * staff + n) for n in range(1, 6)},
        b"W1^R1^B1": b"W%d^R%d^B1" % (staff % 40, staff),
        b"W2^R2^B2": b"W%d^R%d^B2" % (staff % 40 + 1, staff),
    }
    for old, new in changes.items():
        raw = raw.replace(old, new)
    return raw


def _letters(number: int) -> bytes:
    return bytes(65 + int(digit) for digit in str(number))


_PATIENT = {"resourceType": "Patient", "identifier": [{"system": "urn:id:NORTH", "value": "P4711"}]}
_ADT = ("--set", "adt_event=A08")


def admission() -> bytes:
    """An ADT^A01 of 12 segments, synthetic."""
    segments = [
        _HEAD.format(kind="ADT^A01^ADT_A01"),
        "EVN|A01|20260301100000+0100|||1005^CLERK^FIVE",
        _PID,
        "PD1||||1001^DOCTOR^ONE",
        "NK1|1|EXAMPLE^NEXT|SPO^Spouse^HL70063|1 TEST STREET^^TESTTOWN^TS^12345|^PRN^PH^^49^30^1234568",
        _PV1,
        "PV2|||R10^Abdominal pain^I10",
        "AL1|1|DA|70618^PENICILLIN^RXNORM|SV|RASH|20200101",
        "AL1|2|FA|227493005^CASHEW^SCT|MO|HIVES",
        "DG1|1||R10.9^Unspecified abdominal pain^I10|||A",
        "GT1|1||EXAMPLE^GUARANTOR||1 TEST STREET^^TESTTOWN^TS^12345",
        "IN1|1|PLAN1^Plan|INS1|INSURANCE ONE|||||G1||||20250101|||P|EXAMPLE^PATIENT|SEL",
    ]
    return ("\r".join(segments) + "\r").encode()


def report(observations: int = 20) -> bytes:
    """An ORU^R01 with so many OBX, synthetic."""
    segments = [
        _HEAD.format(kind="ORU^R01^ORU_R01"),
        _PID,
        _PV1,
        "ORC|RE|O1^HIS|F1^LAB||CM||||20260301080000+0100|||1001^DOCTOR^ONE",
        "OBR|1|O1^HIS|F1^LAB|24323-8^Comprehensive panel^LN|||20260301081500+0100"
        "|||||||||1001^DOCTOR^ONE||||||20260301101500+0100||CH|F",
        *(
            f"OBX|{n}|NM|{2000 + n}-{n % 10}^Analyte {n}^LN||{n}.50|mmol/L^^UCUM"
            "|1.0-9.9|N|||F|||20260301081500+0100"
            for n in range(1, observations + 1)
        ),
    ]
    return ("\r".join(segments) + "\r").encode()


def cases(mapper: Mapper) -> dict[str, Callable[[], object]]:
    """Name to the work for one message."""
    usual_adt = [varied(admission(), n, n % STAFF) for n in range(MESSAGES)]
    new_adt = [varied(admission(), n, STAFF + n) for n in range(MESSAGES)]
    usual_oru = [varied(report(), n, n % STAFF) for n in range(MESSAGES)]
    plain = MapContext(tenant="bench", zone=UTC)
    transaction = MapContext(tenant="bench", zone=UTC, output=Output.TRANSACTION)
    explained = MapContext(tenant="bench", zone=UTC, explain=True)

    def mapped(messages: list[bytes], context: MapContext) -> Callable[[], object]:
        coming = itertools.cycle(messages)
        return lambda: mapper.map(Message.parse(next(coming)), context)

    def written(messages: list[bytes]) -> Callable[[], object]:
        coming = itertools.cycle(messages)

        def run() -> bytes:
            bundle = mapper.map(Message.parse(next(coming)), transaction).bundle
            assert bundle is not None
            return to_json(bundle)

        return run

    return {
        "ADT parse + map": mapped(usual_adt, plain),
        "ADT parse + map + write": written(usual_adt),
        f"ADT parse + map + write{COLLECTED}": written(usual_adt),
        "ADT of staff never seen + write": written(new_adt),
        "ADT with every origin": mapped(usual_adt, explained),
        "ORU with 20 OBX parse + map": mapped(usual_oru, plain),
        "ORU with 20 OBX parse + map + write": written(usual_oru),
        f"ORU with 20 OBX parse + map + write{COLLECTED}": written(usual_oru),
        "parse alone (ADT, all fields)": lambda: [
            len(segment.fields) for segment in Message.parse(usual_adt[0]).segments()
        ],
    }


def measure(rounds: int) -> dict[str, object]:
    """Run all cases, interleaved; messages a second of CPU."""
    work = cases(default_mapper())
    for run in work.values():
        for _ in range(STAFF):
            run()
    seen: dict[str, list[float]] = {name: [] for name in work}
    gc.collect()
    gc.disable()
    for _ in range(rounds):
        for name, run in work.items():
            if name.endswith(COLLECTED):
                gc.enable()
            start = time.process_time()
            for _ in range(REPEATS):
                run()
            seen[name].append((time.process_time() - start) / REPEATS)
            gc.disable()
        gc.collect()
    gc.enable()
    rates = {name: 1 / statistics.median(times) for name, times in seen.items()}
    ratios = {
        "ADT": rates["ADT parse + map + write"] / ADT_TARGET,
        "ORU with 20 OBX": rates["ORU with 20 OBX parse + map + write"] / ORU_TARGET,
    }
    return {
        "rounds": rounds,
        "messages_per_cpu_second": {name: round(rate) for name, rate in rates.items()},
        "times_budget": {name: round(ratio, 2) for name, ratio in ratios.items()},
        "cold_start_cpu_ms": cold_start(),
        "budgets": {"ADT": ADT_TARGET, "ORU with 20 OBX": ORU_TARGET},
    }


def cold_start() -> dict[str, float]:
    """CPU milliseconds of whole processes: Python alone, `medmesh --help`, `medmesh map FILE`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "adt.hl7"
        file.write_bytes(admission())
        patient = Path(folder) / "patient.json"
        patient.write_text(json.dumps(_PATIENT))
        commands = {
            "python alone": ["-c", "pass"],
            "medmesh --help": ["-m", "medmesh", "--help"],
            "medmesh map": ["-m", "medmesh", "map", str(file)],
            "medmesh map --to hl7v2": [
                "-m",
                "medmesh",
                "map",
                "--to",
                "hl7v2",
                str(patient),
                *_ADT,
            ],
        }
        seen: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(COLD_ROUNDS):
            for name, arguments in commands.items():
                seen[name].append(_cpu_ms(arguments))
    return {name: round(statistics.median(times), 1) for name, times in seen.items()}


def _cpu_ms(arguments: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def main() -> int:
    """Print rates and ratios; exit code 1 when a budget is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=15, help="how often each case runs (15)")
    options = parser.parse_args()
    result = measure(options.rounds)
    if options.json:
        print(json.dumps(result))
    else:
        for title in ("messages_per_cpu_second", "times_budget", "cold_start_cpu_ms", "budgets"):
            print(title.replace("_", " "))
            section = result[title]
            assert isinstance(section, dict)
            for name, value in section.items():
                print(f"  {name:52} {value:>10}")
    ratios = result["times_budget"]
    assert isinstance(ratios, dict)
    return 0 if min(ratios.values()) >= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
