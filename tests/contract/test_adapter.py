"""What every kind of adapter promises, ours and third parties'. Add a kind with one entry in `KINDS`."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.contract import Adapter, AdapterConfig, AdapterKind, AdapterRuntime, Condition, Health
from adapters.fhir import CLIENT, RECEIVER, STORE
from adapters.files import READER, WRITER
from adapters.hl7v2 import FROM_FHIR, MLLP_CLIENT, MLLP_SERVER, TO_FHIR
from bus.clock import SystemClock
from bus.services.protocol import Offer
from schemas import subjects
from tests.ports import free_port
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import DEADLINE_S, SITE, in_memory, runtime


@dataclass(frozen=True)
class Kind:
    """A kind and the least configuration that it runs with."""

    kind: AdapterKind[Any]
    settings: Callable[[Path], dict[str, object]]


KINDS = {
    k.kind.kind: k
    for k in (
        Kind(MLLP_SERVER, lambda _: {"listen": f"127.0.0.1:{free_port()}"}),
        Kind(
            MLLP_CLIENT,
            lambda _: {"connect": f"127.0.0.1:{free_port()}", "subscribe": "evt.north.raw.hl7v2.>"},
        ),
        Kind(TO_FHIR, lambda _: {"subscribe": "evt.north.raw.hl7v2.>"}),
        Kind(FROM_FHIR, lambda _: {"subscribe": "evt.north.order.>"}),
        Kind(WRITER, lambda folder: {"folder": folder / "out", "subscribe": "evt.north.raw.>"}),
        Kind(READER, lambda folder: {"folder": folder / "in"}),
        Kind(
            CLIENT,
            lambda _: {
                "base": f"http://127.0.0.1:{free_port()}/fhir",
                "subscribe": "evt.north.patient.>",
            },
        ),
        Kind(RECEIVER, lambda _: {"listen": f"127.0.0.1:{free_port()}"}),
        Kind(STORE, lambda _: {"subscribe": "evt.north.patient.>"}),
    )
}


@dataclass
class Bench:
    """One kind with its configuration and runtime."""

    kind: AdapterKind[Any]
    config: AdapterConfig
    runtime: AdapterRuntime

    def build(self) -> Adapter:
        adapter: Adapter = self.kind.build(self.config, self.runtime)
        return adapter


class Nobody:
    """An offered service that nobody calls."""

    async def drain(self, *, timeout_s: float = 10.0) -> None:
        pass


async def served(offer: Offer) -> Nobody:
    assert offer.methods
    return Nobody()


@pytest.fixture(params=sorted(KINDS))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    entry = KINDS[request.param]
    settings = {"name": "unit", "kind": entry.kind.kind} | entry.settings(tmp_path)
    config: AdapterConfig = entry.kind.config.model_validate(settings)
    events = MemoryEvents()
    made = runtime(events, tmp_path / "own", clock=SystemClock(), records=in_memory(), serve=served)
    return Bench(entry.kind, config, made)


def test_kind_is_found_by_its_entry_point(bench: Bench) -> None:
    points = importlib.metadata.entry_points(group="medmesh.adapters")
    assert points[bench.kind.kind].load() is bench.kind


def test_kind_has_a_summary_and_its_fields_have_a_manual(bench: Bench) -> None:
    assert bench.kind.summary.endswith(".")
    own = set(bench.kind.config.model_fields) - {"kind"}
    undescribed = {n for n in own if not bench.kind.config.model_fields[n].description}
    assert not undescribed


def test_unknown_settings_are_refused_by_name(bench: Bench) -> None:
    settings = bench.config.model_dump(mode="python", exclude_unset=True) | {"surprise": 1}
    with pytest.raises(ValidationError, match="surprise"):
        bench.kind.config.model_validate(settings)


def test_configuration_is_frozen(bench: Bench) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        bench.config.name = "other"


def test_rights_are_patterns_inside_the_site(bench: Bench) -> None:
    rights = bench.kind.rights(bench.config, SITE)
    assert rights.publish or rights.subscribe
    for pattern in (*rights.publish, *rights.subscribe):
        subjects.pattern(pattern)
        assert pattern.startswith((f"evt.{SITE}.", f"ctl.{SITE}.", f"svc.{SITE}.", "dlq."))


def test_addresses_are_host_and_port(bench: Bench) -> None:
    for address in bench.kind.addresses(bench.config):
        host, _, port = address.rpartition(":")
        assert host
        assert port.isdigit()


def test_building_has_no_side_effects(bench: Bench, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    adapter = bench.build()
    assert adapter.health().condition in (Condition.STOPPED, Condition.STARTING)
    assert sorted(tmp_path.rglob("*")) == before


async def test_four_verbs_in_order_leave_no_task_behind(bench: Bench) -> None:
    before = asyncio.all_tasks()
    adapter = bench.build()
    await adapter.start()
    running = adapter.health()
    assert isinstance(running, Health)
    assert running.condition is Condition.HEALTHY
    assert running.detail
    async with asyncio.timeout(DEADLINE_S):
        await adapter.drain(timeout_s=5.0)
        await adapter.stop()
    assert adapter.health().condition is Condition.STOPPED
    assert asyncio.all_tasks() == before


async def test_listeners_accept_once_start_returns(bench: Bench) -> None:
    adapter = bench.build()
    await adapter.start()
    try:
        for address in bench.kind.addresses(bench.config):
            host, _, port = address.rpartition(":")
            _, writer = await asyncio.open_connection(host, int(port))
            writer.transport.abort()
    finally:
        await adapter.stop()


async def test_stop_is_enough_and_may_come_twice_or_before_the_start(bench: Bench) -> None:
    adapter = bench.build()
    async with asyncio.timeout(DEADLINE_S):
        await adapter.stop()
        await adapter.start()
        await adapter.stop()
        await adapter.stop()


async def test_adapter_can_be_built_and_started_again_after_it_stopped(bench: Bench) -> None:
    for _ in range(2):
        adapter = bench.build()
        await adapter.start()
        await adapter.drain(timeout_s=5.0)
        await adapter.stop()
