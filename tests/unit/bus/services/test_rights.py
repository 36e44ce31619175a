"""Certificates let callers call, services answer, and nobody more."""

from __future__ import annotations

from bus.services.rights import caller_rights, service_rights
from schemas import subjects
from schemas.subjects import SiteId
from tests.unit.bus.services.serving import SITE, Calls

SOUTH = SiteId("south")
OFFER = Calls().offer()


def covers(patterns: tuple[str, ...], subject: str) -> bool:
    return any(subjects.matches(pattern, subject) for pattern in patterns)


def test_service_reads_its_calls_and_answers_its_callers() -> None:
    rights = service_rights(SITE, OFFER, caller_sites=[SOUTH])
    assert covers(rights.subscribe, subjects.call(SITE, "beds", 1, "echo"))
    assert covers(rights.subscribe, subjects.instance_call(SITE, "beds", 1, "a1", "echo"))
    assert covers(rights.publish, subjects.answers(SITE, "emr"))
    assert covers(rights.publish, subjects.answers(SOUTH, "emr"))
    assert not covers(rights.publish, subjects.call(SITE, "beds", 1, "echo"))
    assert not covers(rights.subscribe, subjects.call(SITE, "beds", 2, "echo"))
    assert not covers(service_rights(SITE, OFFER).publish, subjects.answers(SOUTH, "emr"))


def test_caller_asks_one_major_version_and_reads_its_own_answers() -> None:
    rights = caller_rights(SITE, "beds", 1, caller="emr", at=SOUTH)
    assert covers(rights.publish, subjects.call(SOUTH, "beds", 1, "echo"))
    assert covers(rights.publish, subjects.instance_call(SOUTH, "beds", 1, "a1", "echo"))
    assert not covers(rights.publish, subjects.call(SITE, "beds", 1, "echo"))
    assert not covers(rights.publish, subjects.call(SOUTH, "beds", 2, "echo"))
    assert rights.subscribe == (subjects.answers(SITE, "emr"),)


def test_rights_add_up_without_repeating() -> None:
    one = caller_rights(SITE, "beds", 1, caller="emr")
    both = one + one + service_rights(SITE, OFFER)
    assert len(set(both.publish)) == len(both.publish) == 2
    assert len(both.subscribe) == 2
