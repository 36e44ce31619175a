"""FHIR events become HL7 v2 messages on the mesh, once, in their partition, and never half."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.contract import Condition
from adapters.hl7v2 import FROM_FHIR
from adapters.hl7v2.codec import Message
from adapters.hl7v2.views.config import FromFhirConfig
from adapters.hl7v2.views.from_fhir import FromFhir
from adapters.hl7v2.views.shelf import BUCKET, Shelf, Shelved
from bus.events.protocol import ReceivedEvent, Rejected
from bus.transport.memory import MemoryBroker
from schemas.errors import ConfigurationError
from schemas.subjects import site_id
from tests.unit.adapters.hl7v2.reverse.resources import bundle, order, patient
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import SITE_KEY, eventually, in_memory, received, runtime

FHIR = "application/fhir+json"
ORDER = json.dumps(bundle(patient(), order())).encode()


def config(**more: Any) -> FromFhirConfig:
    settings = {"kind": "hl7v2.from-fhir", "name": "to-lab", "subscribe": "evt.north.order.>"}
    return FromFhirConfig.model_validate({**settings, **more})


async def started(
    folder: Path, *, broker: MemoryBroker | None = None, **more: Any
) -> tuple[FromFhir, MemoryEvents]:
    events = MemoryEvents()
    view = FromFhir(config(**more), runtime(events, folder, records=in_memory(broker)))
    await view.start()
    return view, events


async def test_an_order_is_published_for_the_client_to_deliver(tmp_path: Path) -> None:
    view, events = await started(tmp_path, receiving_application="LAB^1.2^ISO", order_message="ORM")
    event = received(ORDER, type=FHIR)
    await view.view(event)
    (sent,) = events.events
    assert sent.subject == f"evt.north.raw.hl7v2-out.{event.partition}"
    assert sent.type == "hl7v2/ORM^O01"
    message = Message.parse(sent.body)
    assert (message.get("MSH-5.1"), message.get("MSH-5.2")) == ("LAB", "1.2")
    assert len(message.get("MSH-10")) == 20
    assert sent.index.control_id == message.get("MSH-10")
    await view.stop()


async def test_the_same_event_is_the_same_message_after_a_restart(tmp_path: Path) -> None:
    sent: list[ReceivedEvent] = []
    for _ in range(2):
        view, events = await started(tmp_path)
        await view.view(received(ORDER, type=FHIR))
        sent += events.events
        await view.stop()
    assert (sent[0].message_id, sent[0].body) == (sent[1].message_id, sent[1].body)


async def test_what_cannot_be_written_is_a_dead_letter_without_content(tmp_path: Path) -> None:
    view, events = await started(tmp_path)
    for body in (b'{"resourceType": "Basic", "id": "secret-4711"}', b"secret-4711", b"[" * 5_000):
        with pytest.raises(Rejected) as refused:
            await view.view(received(body, type=FHIR))
        assert "4711" not in str(refused.value)
    assert not events.events
    await view.stop()


async def test_other_events_are_passed_over(tmp_path: Path) -> None:
    view, events = await started(tmp_path)
    assert await view.view(received(b"MSH|", type="hl7v2/ADT^A08")) is None
    assert not events.events
    await view.stop()


async def test_it_says_by_which_tables_it_writes(tmp_path: Path) -> None:
    view, _ = await started(tmp_path)
    assert view.health().condition is Condition.HEALTHY
    await view.stop()
    assert view.health().condition is Condition.STOPPED


async def test_tables_are_changed_while_events_pass(tmp_path: Path) -> None:
    broker = MemoryBroker()
    view, events = await started(tmp_path, broker=broker)
    await view.view(received(ORDER, type=FHIR))
    transport = await broker.connect(name="engineer")
    shelf = Shelf(await transport.key_value(BUCKET), SITE_KEY)
    table = b"segment: Patient[PID]\nrules:\n  - {id: site-nation, const: BE, to: PID-28.1}\n"
    layer = Shelved(files={"segments/pid.yaml": table}, author="engineer", reason="", at_ms=1)
    before = view.health().detail
    revision = await shelf.write("to-lab", layer)
    await eventually(lambda: view.health().detail != before, what="the new tables")
    await view.view(received(ORDER, type=FHIR))
    old, new = (Message.parse(event.body) for event in events.events)
    assert (old.get("PID-28.1"), new.get("PID-28.1")) == ("", "BE")
    assert old.get("MSH-10") != new.get("MSH-10")
    broken = Shelved(
        files={"segments/pid.yaml": table.replace(b"PID-28", b"PV1-28")},
        author="engineer", reason="", at_ms=2, revision=revision,
    )  # fmt: skip
    await shelf.write("to-lab", broken)
    await eventually(
        lambda: view.health().condition is Condition.DEGRADED, what="the trouble in health"
    )
    assert "PV1-28" in view.health().detail
    await view.view(received(ORDER, type=FHIR))
    assert Message.parse(events.events[-1].body).get("PID-28.1") == "BE"
    await view.stop()
    await transport.close()


async def test_a_wrong_layer_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "segments").mkdir()
    (tmp_path / "segments" / "x.yaml").write_text("segment: Patient[PID]\ndisable: [nmae]\n")
    with pytest.raises(ConfigurationError, match="'name'"):
        await started(tmp_path, tables=tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": "9"},
        {"charset": "UNICODE UTF-16"},
        {"receiving_facility": "A|B"},
        {"adt_event": "x"},
    ],
)
def test_a_wrong_setting_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        config(**wrong)


def test_it_may_publish_its_messages_and_nothing_else() -> None:
    rights = FROM_FHIR.rights(config(), site_id("north"))
    own = [one for one in rights.publish if one.startswith("evt.")]
    assert own == ["evt.north.raw.hl7v2-out.*"]
