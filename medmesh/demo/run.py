"""A run of the demo: once through the day, or day after day until somebody has seen enough."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medmesh.demo.hospital import Hospital
from medmesh.demo.messages import day
from medmesh.demo.summary import Summary
from medmesh.demo.view import LiveView

_LIVE_RATE: Final = 20.0
_ARRIVAL_S: Final = 60.0
_RUN_DIGITS: Final = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the demo runs."""

    messages: int
    seed: int
    once: bool
    seconds: float | None
    rate: float | None
    is_live: bool
    """Whether there is a terminal to show things in."""


async def play(
    folder: Path,
    plan: Plan,
    asked: asyncio.Event,
    *,
    announce: Callable[[str], None] | None,
) -> Summary:
    """Open the hospital, send, wait for everything to arrive, close it, compare. `asked` ends it early."""
    hospital = Hospital(folder)
    try:
        await hospital.start()
        if announce is not None:
            address = hospital.runtime.addresses["emr-in"][0]
            announce(
                f"the demo's hospital is open in {folder}; send your own: --to mllp://{address}"
            )
        started_s = hospital.clock.monotonic_s()
        async with LiveView(hospital) if plan.is_live else nullcontext():
            sending = asyncio.create_task(_send(hospital, plan))
            await _until_done(sending, asked, plan.seconds)
            hospital.stop_sending()
            await sending
            await hospital.arrived(timeout_s=_ARRIVAL_S)
        seconds = hospital.clock.monotonic_s() - started_s
    finally:
        drained = await hospital.stop()
    sent = hospital.sending
    return Summary(
        sent=sent.sent,
        accepted=sent.accepted,
        rejected=sent.rejected,
        unanswered=sent.lost,
        his=hospital.at_his(),
        archive=hospital.in_archive(),
        drained=drained,
        seconds=seconds,
        p50_ms=sent.percentile_ms(0.50),
        p99_ms=sent.percentile_ms(0.99),
        trouble=sent.last_trouble,
    )


async def _send(hospital: Hospital, plan: Plan) -> None:
    """One day, or one after the other; each run and each day has control ids of its own."""
    run = _base36(hospital.clock.now_ms())[-7:]
    rate = plan.rate if plan.rate is not None else 0.0 if plan.once else _LIVE_RATE
    number = 0
    while hospital.is_sending:
        messages = day(plan.messages, seed=plan.seed + number, run=f"{run}{number:03d}")
        await hospital.send(messages, rate=rate)
        number += 1
        if plan.once:
            return
        if hospital.is_sending:
            await hospital.close_day(timeout_s=_ARRIVAL_S)


async def _until_done(
    sending: asyncio.Task[None], asked: asyncio.Event, seconds: float | None
) -> None:
    """Until everything is sent, the time is up, or somebody asks."""
    waiting = asyncio.ensure_future(asked.wait())
    await asyncio.wait((sending, waiting), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, _RUN_DIGITS)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits


__all__ = ["Plan", "play"]
