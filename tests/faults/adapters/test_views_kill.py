"""`medmesh up` is killed while views work: every accepted message has its view, once, in each patient's order."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.hospital import Site, eventually, mllp_in, running
from tests.peers.sender import Tally, send_all
from tests.ports import free_port

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(300)]

SENDERS, EACH, KILLS = 4, 150, 2


def message(sender: int, number: int) -> bytes:
    """An update of one of two patients of this sender; its family name is its number, so that its view tells it."""
    return (
        f"MSH|^~\\&|EMR|NORTH|HIS|NORTH|20260301100000+0100||ADT^A08^ADT_A01|C{sender}X{number}|P|2.5.1\r"
        "EVN|A08|20260301100000+0100\r"
        f"PID|1||P{sender}X{number % 2}^^^NORTH^MR||EXAMPLE{sender}X{number}^PATIENT||19700101|F\r"
    ).encode()


def adapters(port: int, folder: Path) -> str:
    return f"""{mllp_in(port)}
[[adapter]]
name = "views"
kind = "hl7v2.to-fhir"
subscribe = "evt.north.raw.hl7v2.*"

[[adapter]]
name = "shelf"
kind = "files.writer"
folder = "{folder}"
subscribe = "evt.north.patient.*.*"
file_name = "{{seq}}-{{id}}"
"""


def views(folder: Path) -> list[str]:
    """The family names of the views, in the order of their numbers in the stream; files under way have no `.json`."""
    files = sorted(folder.glob("*.json"), key=lambda one: int(one.name.partition("-")[0]))
    return [family(json.loads(one.read_bytes())) for one in files]


def family(bundle: dict[str, Any]) -> str:
    resources = [entry["resource"] for entry in bundle["entry"]]
    (patient,) = (one for one in resources if one["resourceType"] == "Patient")
    return str(patient["name"][0]["family"])


async def test_every_accepted_message_has_its_view_once_and_in_order(tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "views"
    site = Site(tmp_path, adapters(port, folder))
    tally = Tally()
    told: list[str] = []
    async with running(site):
        senders = [
            asyncio.create_task(send_all(port, [message(s, n) for n in range(EACH)], tally))
            for s in range(SENDERS)
        ]
        try:
            for kill in range(KILLS):
                wanted = (kill + 1) * SENDERS * EACH // 4
                await eventually(
                    lambda w=wanted: len(list(folder.glob("*.json"))) >= w,  # type: ignore[misc]
                    within_s=60,
                    what=f"{wanted} views before the kill",
                )
                assert not all(sender.done() for sender in senders), "nothing was under way"
                await site.kill()
                told += site.child.errors if site.child else []
                await site.start()
            async with asyncio.timeout(120):
                await asyncio.gather(*senders)
        finally:
            for sender in senders:
                sender.cancel()
        sent = {f"EXAMPLE{s}X{n}" for s in range(SENDERS) for n in range(EACH)}
        assert len(tally.accepted) == len(sent)
        await eventually(lambda: set(views(folder)) >= sent, within_s=60, what="every view")
        assert await site.stop() == 0
        told += site.child.errors if site.child else []
    found = views(folder)
    assert set(found) == sent, "a view of a message that nobody sent"
    repeated = sum(count - 1 for count in Counter(found).values())
    # A sender that saw no answer sends its message again; the way in knows it by its bytes, so not even that doubles.
    assert repeated == 0, f"{repeated} views came twice"
    for number in range(SENDERS):
        for patient in range(2):
            of_patient = [f"EXAMPLE{number}X{n}" for n in range(EACH) if n % 2 == patient]
            assert [one for one in found if one in set(of_patient)] == of_patient
    assert "EXAMPLE" not in "".join(told)
