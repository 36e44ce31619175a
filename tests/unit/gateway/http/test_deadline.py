"""A deadline ends what is late, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from gateway.http.deadline import Deadline
from gateway.http.turns import Turns


async def test_what_is_late_ends_with_a_timeout() -> None:
    with pytest.raises(TimeoutError), Deadline(Turns(0.01)):
        await asyncio.Event().wait()
    await asyncio.sleep(0)  # the task itself goes on


async def test_what_is_in_time_is_left_alone() -> None:
    with Deadline(Turns(0.01)):
        await asyncio.sleep(0)
    await asyncio.sleep(0.03)


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def work() -> None:
        with Deadline(Turns(60)):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_work_passes() -> None:
    with pytest.raises(ValueError, match="mine"), Deadline(Turns(60)):
        raise ValueError("mine")
