"""The demo's books: a settled day is remembered as numbers alone."""

from __future__ import annotations

from pathlib import Path

from medmesh.demo.hospital import Hospital
from medmesh.demo.messages import day
from medmesh.sending import Fate
from schemas.clock import FakeClock


async def test_days_without_end_need_the_memory_of_one(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path, clock=FakeClock())
    hospital.archive.mkdir()
    for number in range(30):
        messages = day(20, seed=number, run=f"R{number:03d}")
        hospital.accepted += messages
        hospital.received += [message.raw for message in messages]
        for message in messages:
            hospital.sending.add(Fate.ACCEPTED, code="AA", latency_s=0.001)
            (hospital.archive / f"{message.control_id}.hl7").write_bytes(message.raw)
        hospital.sending.latencies_s.extend([0.001] * 1000)
        await hospital.close_day(timeout_s=1)
        assert (hospital.accepted, hospital.received) == ([], [])
        assert len(hospital.sending.latencies_s) <= 10_000
    for place in (hospital.at_his(), hospital.in_archive()):
        assert (place.arrived, place.is_whole) == (600, True)
    assert hospital.received_in_all == 600


async def test_a_day_that_has_not_arrived_is_not_settled(tmp_path: Path) -> None:
    clock = FakeClock()
    hospital = Hospital(tmp_path, clock=clock)
    hospital.accepted += day(3)
    await hospital.close_day(timeout_s=-1)
    assert len(hospital.accepted) == 3
    assert hospital.at_his().missing == 3
