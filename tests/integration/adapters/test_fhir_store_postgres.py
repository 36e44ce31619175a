"""The store on PostgreSQL: it keeps the promises of the one on SQLite, several at a time on one database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from schemas.clock import FakeClock
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb
from tests.integration.bus.transactions.conftest import postgres, postgres_server
from tests.unit.adapters.fhir.store import (
    test_interactions as interactions,
)
from tests.unit.adapters.fhir.store import test_permits as permits
from tests.unit.adapters.fhir.store import test_search as searching
from tests.unit.adapters.fhir.store import test_transactions as transacting
from tests.unit.adapters.fhir.store.kit import Ward, identified, observation, patient, ward
from tests.unit.adapters.memory_events import MemoryEvents

__all__ = ["postgres", "postgres_server"]


@pytest.fixture
async def empty(tmp_path: Path, postgres: str) -> AsyncIterator[Ward]:
    clock = FakeClock()
    async with ward(tmp_path, clock=clock, postgres={"conninfo": postgres}) as running:
        yield running


async def filled(store: Ward) -> None:
    for name, body in searching.PATIENTS.items():
        await store.put(f"Patient/{name}", body)
        store.clock.advance(1)  # type: ignore[attr-defined]
    await store.put("Practitioner/doc", {"name": [{"family": "Strange"}]})


async def emptied(store: Ward) -> None:
    for name in searching.PATIENTS:
        await store.ask(pb.KIND_DELETE, f"Patient/{name}")


def cases(test: Any) -> list[Any]:
    """The parameters of a test of the other suite."""
    (mark,) = [one for one in test.pytestmark if one.name == "parametrize"]
    found: list[Any] = mark.args[1]
    return found


async def test_search_finds_the_same(empty: Ward) -> None:
    await filled(empty)
    for query, found in cases(searching.test_search_finds):
        pairs = [tuple(one.split("=", 1)) for one in query.split("&")]
        assert await empty.ids("Patient", *pairs) == found.split(), query
    for sort, found in cases(searching.test_order_is_kept_over_pages):
        await searching.test_order_is_kept_over_pages(empty, sort, found)
    for value, found in cases(searching.test_quantity_is_as_precise_as_it_is_written):
        await searching.test_quantity_is_as_precise_as_it_is_written(empty, value, found)


async def test_pages_and_includes_are_the_same(empty: Ward) -> None:
    await filled(empty)
    await searching.test_search_over_types(empty)
    await searching.test_includes_bring_what_is_named_and_what_names(empty)
    await searching.test_unknown_parameter_is_told_or_refused(empty)
    await searching.test_page_neither_repeats_nor_loses_when_others_write(empty)


@pytest.mark.parametrize(
    "test",
    [
        interactions.test_body_keeps_every_byte_but_id_and_stamp,
        interactions.test_read_of_what_never_was_is_404_and_of_what_was_deleted_410,
        interactions.test_update_creates_counts_versions_and_brings_back_what_was_deleted,
        interactions.test_version_that_is_not_the_newest_any_more_is_not_changed,
        interactions.test_conditional_create_finds_creates_or_refuses,
        interactions.test_conditional_update_patch_and_delete_find_one_resource,
        interactions.test_changes_are_events_in_their_patients_partition,
        transacting.test_references_follow_what_was_created_and_texts_stay,
        transacting.test_one_entry_that_fails_undoes_every_other,
        transacting.test_conditional_entries_find_create_and_are_referred_to,
        transacting.test_order_is_delete_create_update_read,
    ],
    ids=lambda test: test.__name__.removeprefix("test_"),
)
async def test_promise_is_kept(empty: Ward, test: Any) -> None:
    await test(empty)


async def test_compartments_hide_the_same(empty: Ward) -> None:
    for name in ("anna", "bert"):
        await empty.put(f"Patient/{name}", patient(name))
        await empty.put(f"Observation/of-{name}", observation(f"Patient/{name}"))
    await permits.test_compartment_hides_other_patients(empty)
    await permits.test_compartment_keeps_changes_inside(empty)


async def test_two_stores_share_a_database_without_doubles(
    tmp_path: Path,
    postgres: str,
) -> None:
    events = MemoryEvents(service="store")
    settings: dict[str, Any] = {"events": events, "postgres": {"conninfo": postgres}}
    async with ward(tmp_path / "a", **settings) as one, ward(tmp_path / "b", **settings) as other:
        condition = [("identifier", "urn:mrn|1")]
        made = await asyncio.gather(
            *(store.create(identified("1"), if_none_exist=condition) for store in (one, other) * 10)
        )
        assert sorted(outcome.status for outcome in made) == [200] * 19 + [201]
        updates = await asyncio.gather(
            *(
                store.put("Patient/p", {"multipleBirthInteger": number})
                for number, store in enumerate((one, other) * 10)
            )
        )
        assert sorted(int(outcome.version) for outcome in updates) == list(range(1, 21))
        assert sorted(outcome.status for outcome in updates) == [200] * 19 + [201]
        assert len(await one.announced()) == 21
