"""A FHIR sender hears that its resource does not belong on the subject, and is not told to send it again."""

from __future__ import annotations

import random
from http import HTTPStatus
from pathlib import Path

from adapters.fhir.config import ReceiverConfig
from adapters.fhir.intake import Intake
from adapters.fhir.settings import Validation
from adapters.fhir.validation import Validator
from schemas.registry.errors import Misfit, SchemaRefused
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import runtime


async def test_resource_that_its_subject_is_not_bound_to_is_answered_422(tmp_path: Path) -> None:
    events = MemoryEvents()
    events.failure = SchemaRefused(
        pattern="evt.north.raw.fhir.*", misfit=Misfit.RESOURCE_TYPE, expected="FHIR R4 Observation", seen="Patient"
    )  # fmt: skip
    around = runtime(events, tmp_path)
    config = ReceiverConfig(name="fhir-in", kind="fhir.receiver", listen="127.0.0.1:0")
    validator = Validator(
        Validation(), name="fhir-in", count=lambda *_: None, chance=random.Random(1)
    )
    intake = Intake(config, around, validator, None)
    reply = await intake.accept(b'{"resourceType":"Patient","id":"QUOKKA"}')
    assert reply.status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert reply.retry_after_s == 0
    assert b"evt.north.raw.fhir.*" in reply.body
    assert b"QUOKKA" not in reply.body
    assert around.counters.get("resource_refused", reason="schema_refused") == 1
