"""A receiver that dawdles, refuses and hangs up at random: order per patient holds, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.load import Load
from tests.hospital import Sink, Site, eventually, mllp_in, mllp_out, running
from tests.ports import free_port

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(180)]

LANES = 8


async def test_lanes_keep_each_patients_order_whatever_the_receiver_does(tmp_path: Path) -> None:
    port, sink = free_port(), Sink(tmp_path)
    retry = "[adapter.retry]\nmax_attempts = 0\nfirst_delay_s = 0.02\nlongest_delay_s = 0.2"
    site = Site(
        tmp_path,
        mllp_in(port) + mllp_out(sink.port, more=f"lanes = {LANES}\nack_timeout_s = 1.0\n{retry}"),
    )
    await sink.start("--whims", "20260101", "--delay", "0.005")
    async with running(site, sink):
        load = Load(port, each=150)
        await load.done(within_s=60)
        await eventually(
            lambda: accepted(sink) >= load.sent.keys(), within_s=60, what="everything accepted"
        )
        journal = sink.journal
        refusals = sum(code != "AA" for _, code in journal.answered)
        hung_up = len(journal.received) - len(journal.answered)
        assert refusals > 50, "the receiver did refuse"
        assert hung_up > 20, "the receiver did hang up"
        # What was refused or got no answer is sent again, and nothing else is.
        load.check(journal, duplicates_allowed=refusals + hung_up)
        positive = [control for control, code in journal.answered if code == "AA"]
        assert len(positive) - len(set(positive)) <= hung_up, (
            "accepted once, or its answer was late"
        )
        load.check_order(positive)
        assert await site.stop() == 0


def accepted(sink: Sink) -> set[str]:
    """Control ids that the receiver accepted."""
    return {control for control, code in sink.journal.answered if code == "AA"}
