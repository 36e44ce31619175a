"""What a sender hears is true, and says who can do something about it."""

from __future__ import annotations

import json
import random
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from adapters.contract import AdapterRuntime
from adapters.fhir.config import ReceiverConfig
from adapters.fhir.intake import Fetch, Intake, Reply
from adapters.fhir.settings import Validation
from adapters.fhir.validation import Validator
from bus.envelope.types import NobodyMayRead
from schemas.errors import Unavailable
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import runtime

PATIENT = b'{"resourceType":"Patient","id":"QUOKKA"}'


def intake(folder: Path, fetch: Fetch | None = None) -> tuple[Intake, MemoryEvents, AdapterRuntime]:
    events = MemoryEvents()
    around = runtime(events, folder)
    config = ReceiverConfig.model_validate(
        {
            "name": "fhir-in",
            "kind": "fhir.receiver",
            "listen": "127.0.0.1:0",
            "event_by_type": {"Observation": "result.reported"},
        }
    )
    chance = random.Random(1)
    validator = Validator(Validation(), name="fhir-in", count=lambda *_: None, chance=chance)
    return Intake(config, around, validator, fetch), events, around


def issue(reply: Reply) -> dict[str, Any]:
    (only,) = json.loads(reply.body)["issue"]
    assert isinstance(only, dict)
    return only


async def test_a_resource_that_nobody_may_read_is_refused_for_good(tmp_path: Path) -> None:
    into, events, around = intake(tmp_path)
    events.failure = NobodyMayRead("no service may read evt.north.raw.fhir.7")
    reply = await into.accept(PATIENT)
    assert (reply.status, reply.retry_after_s) == (HTTPStatus.UNPROCESSABLE_ENTITY, 0)
    told = issue(reply)
    assert told["code"] == "not-supported"
    for what in ("raw.fhir", "result.reported", "subscribe", "event_by_type"):
        assert what in told["diagnostics"]
    assert b"QUOKKA" not in reply.body
    assert around.counters.get("resource_refused", reason="nobody_may_read") == 1
    assert into.trouble.startswith("nobody_may_read")  # an operator sees it in the health

    events.failure = None
    assert (await into.accept(PATIENT)).status == HTTPStatus.OK
    assert not into.trouble


async def test_a_mesh_that_is_away_asks_to_come_again(tmp_path: Path) -> None:
    into, events, _ = intake(tmp_path)
    events.failure = Unavailable("away")
    reply = await into.accept(PATIENT)
    assert reply.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert reply.retry_after_s > 0


@pytest.mark.parametrize("body", [b"", b" \r\n"])
async def test_an_empty_body_is_told_what_to_send(tmp_path: Path, body: bytes) -> None:
    into, events, around = intake(tmp_path)
    for wanted in ("", "Patient"):
        reply = await into.accept(body, wanted_type=wanted, wanted_id="1" if wanted else "")
        assert reply.status == HTTPStatus.BAD_REQUEST
        told = issue(reply)
        assert told["code"] == "required"
        assert told["diagnostics"].startswith("the body is empty: send")
        assert wanted in told["diagnostics"]
    assert around.counters.get("resource_refused", reason="no_content") == 2
    assert not events.events


async def test_an_empty_put_of_a_resource_is_no_notification(tmp_path: Path) -> None:
    asked = 0

    async def fetch() -> int:
        nonlocal asked
        asked += 1
        return 3

    into, _, _ = intake(tmp_path, fetch)
    assert (await into.accept(b"", wanted_type="Patient", wanted_id="1")).status == 400
    assert asked == 0
    assert (await into.accept(b"")).status == 200
    assert asked == 1
