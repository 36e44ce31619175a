"""Validation in a process of its own: refuses with places and codes, samples beside the flow, survives what hangs."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from adapters.fhir.judge import Report, judge, models_of
from adapters.fhir.settings import Validation, ValidationMode
from adapters.fhir.validation import ValidationFailed, Validator
from bus.events.protocol import Outcome
from tests.integration.adapters.fhir.kit import (
    bundle,
    endpoint,
    event,
    fhir_client,
    fhir_receiver,
    notification,
    observation,
    patient,
)
from tests.integration.adapters.fhir.test_server import issue, send
from tests.peers.fhir_server import fhir_server
from tests.shared_data import shared_path
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import DEADLINE_S

ON = {"mode": "on"}
WRONG = (
    b'{"resourceType":"Patient","id":"p1","QUOKKA":"ZEBRAFISH","gender":["ZEBRAFISH"],'
    b'"birthDate":"19331122 ZEBRAFISH","name":[{"family":"A"},{"family":7}]}'
)
PLACES = {"Patient.birthDate", "Patient.gender", "Patient.name[1].family", "Patient.?"}


def validator(settings: Validation, counts: Counter[tuple[str, str]]) -> Validator:
    def count(name: str, reason: str) -> None:
        counts[name, reason] += 1

    return Validator(settings, name="unit", count=count, chance=random.Random(7))


async def test_refused_on_the_way_in_with_places_and_codes(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with fhir_receiver(events, tmp_path, validation=ON) as (receiver, own):
        answer = await send(endpoint(receiver), WRONG)
        assert (answer.status_code, issue(answer)) == (422, "invalid")
        assert set(answer.json()["issue"][0]["expression"]) == PLACES
        inside = notification("event-notification", patient("p2"), WRONG)
        assert (await send(endpoint(receiver), inside)).status_code == 422
        assert not events.events  # all of a notification or nothing
        unknown = await send(endpoint(receiver), b'{"resourceType":"Surprise"}')
        assert unknown.status_code == 422
        assert (await send(endpoint(receiver), patient())).status_code == 200
        assert events.bodies() == [patient()]
        told = answer.text + repr(own.counters.snapshot())
        assert not [s for s in ("ZEBRAFISH", "QUOKKA", "19331122") if s in told]
        assert own.counters.get("validation_finding", reason="extra_forbidden") == 2


async def test_refused_on_the_way_out_is_a_dead_letter(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with (
        fhir_server() as server,
        fhir_client(events, tmp_path, server.base, validation=ON) as (_, own),
    ):
        await events.publish(event(WRONG, 1))
        await events.publish(event(observation("o1"), 2))
        receipt = await events.await_receipt(
            (2).to_bytes(16, "big"), "repository", timeout_s=DEADLINE_S
        )
        assert receipt.outcome is Outcome.APPLIED
        await events.until(lambda: len(events.dead_letters) == 1)
        assert events.dead_letters[0][2] == "fhir_invalid"
        assert [seen.path for seen in server.seen] == ["Observation/o1"]
        assert own.counters.get("resource_refused", reason="fhir_invalid") == 1


async def test_sample_counts_and_refuses_nothing() -> None:
    counts: Counter[tuple[str, str]] = Counter()
    settings = Validation(mode=ValidationMode.SAMPLE, sample=1.0)
    own = validator(settings, counts)
    for _ in range(10):
        assert await own.findings(WRONG) == ()
    await own.settled()
    await own.stop()
    assert counts["resource_validated", "findings"] == 8
    assert counts["validation_left_out", "busy"] == 2


async def test_loop_goes_on_and_processes_that_hang_or_die_are_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    own = validator(Validation(mode=ValidationMode.ON, timeout_s=0.2), counts)
    start = asyncio.create_subprocess_exec

    async def other(*_: object, **pipes: object) -> object:
        return await start(sys.executable, "-c", program, **pipes)  # type: ignore[arg-type]  # pipes only

    monkeypatch.setattr(asyncio, "create_subprocess_exec", other)
    program = "import sys; sys.stdin.buffer.read()"
    with pytest.raises(ValidationFailed, match="timeout_s"):
        await own.findings(patient())
    program = "import sys; sys.exit(3)"
    with pytest.raises(ValidationFailed, match=r"broke|within"):
        await own.findings(patient())
    monkeypatch.undo()
    own._settings = Validation(mode=ValidationMode.ON)
    assert await own.findings(patient()) == ()
    await own.stop()
    assert sum(count for (name, _), count in counts.items() if name == "validation_failed") == 2


async def test_no_process_is_started_before_the_first_resource(tmp_path: Path) -> None:
    own = validator(Validation(mode=ValidationMode.ON), Counter())
    assert [worker._process for worker in own._workers] == [None]
    await own.stop()


def test_what_differs_between_r4_and_r4b_is_left_out_and_the_rest_of_a_bundle_is_not() -> None:
    get_model = models_of("R4")
    evidence = b'{"resourceType":"Evidence","status":"draft"}'
    assert judge(evidence, "R4", get_model) == Report(skipped=True)
    mixed = bundle("collection", ("PUT Evidence/1", evidence), ("PUT Patient/p1", WRONG))
    report = judge(mixed, "R4", get_model)
    assert report.skipped
    assert {f.path for f in report.findings} == {
        f"Bundle.entry[1].resource.{place}" for place in PLACES
    }


@pytest.mark.parametrize(("release", "folder"), [("R4", "r4-examples"), ("R4B", "r4b-examples")])
def test_official_examples_pass(release: str, folder: str) -> None:
    get_model = models_of(release)
    found = {}
    files = sorted(shared_path(f"data/fhir/{folder}").glob("*.json"))
    for path in files:
        report = judge(path.read_bytes(), release, get_model)
        if report.findings:
            found[path.name] = [(f.path, f.code) for f in report.findings]
    assert len(files) > 20
    # the library knows no primitive extensions inside nested extensions: its own limit
    assert len(found) <= len(files) // 50, found


def test_releases_are_told_apart() -> None:
    coded = b'{"code":"IMP"}'
    visit = b'{"resourceType":"Encounter","status":"%b","class":%b}'
    older = visit % (b"finished", coded)
    newer = visit % (b"completed", b'[{"coding":[%b]}]' % coded)
    assert judge(older, "R4", models_of("R4")).findings == ()
    assert judge(newer, "R5", models_of("R5")).findings == ()
    assert judge(older, "R5", models_of("R5")).findings
    assert judge(newer, "R4", models_of("R4")).findings
