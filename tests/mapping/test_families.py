"""Messages of every family, written for these tests: what must come of them; nothing is invalid, lost or silent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from adapters.hl7v2.codec import Message
from adapters.hl7v2.mapping.protocol import MapContext, Mapped, Output
from tests.mapping.bindings import by_bindings
from tests.mapping.checks import lost_leaves
from tests.mapping.facts import facts_of
from tests.mapping.judges import NpmJudge
from tests.mapping.kit import faults, refusals
from tests.mapping.mapper import default_mapper, mapper_of, written

CASES: Final[list[dict[str, Any]]] = yaml.safe_load(
    Path(__file__).with_name("families.yaml").read_text(encoding="utf-8")
)
EXPLAINED: Final = MapContext(tenant="north", zone=UTC, explain=True)
TRANSACTION: Final = MapContext(tenant="north", zone=UTC, output=Output.TRANSACTION)

every_case = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])


@pytest.fixture(scope="module")
def npm() -> Iterator[NpmJudge]:
    with NpmJudge() as judge:
        yield judge


def parsed(case: dict[str, Any]) -> Message:
    text = case["message"].replace("\n", "\r")
    return Message.parse(text.encode(case.get("charset", "ascii")))


def facts(found: Mapped) -> set[str]:
    made = facts_of(written(found.bundle or {}))
    return {f"{path} = {value}" for counted in made.values() for path, value in counted}


@every_case
def test_it_becomes_what_it_says(case: dict[str, Any]) -> None:
    found = default_mapper().map(parsed(case), EXPLAINED)
    counted = Counter(one["resourceType"] for one in found.resources)
    assert {kind: counted[kind] for kind in case["makes"]} == case["makes"]
    assert set(case.get("facts", ())) <= facts(found)


@every_case
def test_no_value_is_lost_in_silence(case: dict[str, Any]) -> None:
    message = parsed(case)
    found = default_mapper().map(message, EXPLAINED)
    assert not lost_leaves(message, found, written(found.bundle or {}))
    places = [issue.where for issue in found.issues]
    assert not [one for one in case.get("told", ()) if not any(at.startswith(one) for at in places)]


@every_case
@pytest.mark.parametrize("context", [EXPLAINED, TRANSACTION], ids=["message", "transaction"])
def test_no_judge_refuses_it(case: dict[str, Any], context: MapContext, npm: NpmJudge) -> None:
    for mapper in (default_mapper(), mapper_of("us")):
        found = mapper.map(parsed(case), context)
        assert not found.failed
        assert [*faults(found), *map(str, refusals(found, npm))] == []
        assert by_bindings(written(found.bundle or {})) == []
