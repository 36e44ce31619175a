"""A mapped message in the light of earlier ones."""

from __future__ import annotations

import pytest

from adapters.hl7v2.mapping.protocol import Resource
from adapters.hl7v2.views.ledger import BUCKET, Ledger
from adapters.hl7v2.views.review import review, utc, without
from bus.transport.memory import MemoryBroker

NEW, OLD = "2026-03-02T10:00:00+01:00", "2026-03-02T08:59:59Z"


@pytest.fixture
async def ledger() -> Ledger:
    transport = await MemoryBroker().connect(name="views")
    return Ledger(await transport.key_value(BUCKET), b"s" * 32)


def report(issued: str = "", *, name: str = "r1") -> Resource:
    made: Resource = {
        "resourceType": "DiagnosticReport",
        "id": name,
        "result": [{"reference": f"urn:uuid:{name}-o1"}],
    }
    return {**made, "issued": issued} if issued else made


def patient(name: str, *, into: str = "") -> Resource:
    made: Resource = {"resourceType": "Patient", "id": name, "active": not into}
    if into:
        made["link"] = [{"other": {"reference": f"Patient/{into}"}, "type": "replaced-by"}]
    return made


async def test_an_older_report_steps_aside_with_its_observations(ledger: Ledger) -> None:
    assert not (await review([report(NEW)], timestamp="", ledger=ledger)).outdated
    late = await review([report(OLD), report(OLD, name="r2")], timestamp="", ledger=ledger)
    assert late.outdated == {"r1", "r1-o1"}


async def test_a_report_without_an_instant_is_of_the_message(ledger: Ledger) -> None:
    assert not (await review([report()], timestamp=NEW, ledger=ledger)).outdated
    assert (await review([report()], timestamp=OLD, ledger=ledger)).outdated
    assert not (await review([report()], timestamp="", ledger=ledger)).outdated


async def test_an_update_after_a_merge_does_not_revive_the_patient(ledger: Ledger) -> None:
    merge = [patient("keeps"), patient("gone", into="keeps")]
    await review(merge, timestamp=NEW, ledger=ledger)
    update = [patient("gone")]
    assert (await review(update, timestamp=NEW, ledger=ledger)).retired == {"gone"}
    assert update[0]["active"] is False
    assert update[0]["link"] == [{"other": {"reference": "Patient/keeps"}, "type": "replaced-by"}]
    assert not (await review([patient("keeps")], timestamp=NEW, ledger=ledger)).retired


async def test_a_merge_sent_again_changes_nothing(ledger: Ledger) -> None:
    for _ in range(2):
        merge = [patient("keeps"), patient("gone", into="keeps")]
        assert not (await review(merge, timestamp=NEW, ledger=ledger)).retired
    assert await ledger.survivor_of("gone") == "keeps"


async def test_a_merge_of_a_record_with_itself_retires_nobody(ledger: Ledger) -> None:
    same = patient("p1", into="p1")
    await review([same], timestamp=NEW, ledger=ledger)
    assert "active" not in same
    assert "link" not in same
    assert not (await review([patient("p1")], timestamp=NEW, ledger=ledger)).retired


def test_a_bundle_without_what_is_outdated() -> None:
    bundle: Resource = {
        "resourceType": "Bundle",
        "entry": [{"resource": patient("p")}, {"resource": report(NEW)}],
    }
    assert without(bundle, frozenset({"r1"}))["entry"] == [{"resource": patient("p")}]


@pytest.mark.parametrize("value", ["", "2026-03-02", "2026-03-02T10:00:00", "nonsenseT", None, 4])
def test_what_is_no_instant_is_not_compared(value: str | int | None) -> None:
    assert utc(value) == ""
