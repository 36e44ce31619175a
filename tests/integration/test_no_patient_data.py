"""No patient data where it does not belong: subjects, headers, payloads on the wire, logs, events, errors, the disk."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from bus.transport.nats import Credentials, connect
from bus.transport.protocol import Incoming
from tests.hospital import Sink, Site, mllp_in, mllp_out, running
from tests.peers.sender import END, START, Tally, send_all, synthetic
from tests.ports import free_port

pytestmark = [pytest.mark.server, pytest.mark.timeout(120)]

NAME, FORENAME, IDENTIFIER = "ZQXWVNAME", "JKLPFORENAME", "MRN8675309777"
MARKS = [NAME.encode(), FORENAME.encode(), IDENTIFIER.encode()]


def marked(n: int) -> bytes:
    """A message with names and identifiers that occur nowhere else."""
    return (
        synthetic(n)
        .replace(b"P%05d" % (n % 50), IDENTIFIER.encode())
        .replace(b"EXAMPLE^PATIENT", f"{NAME}^{FORENAME}".encode())
    )


def hostile(n: int) -> list[bytes]:
    """Broken messages that carry the marks where an error message might quote them."""
    whole = marked(n)
    return [
        whole.replace(b"ADT^A08^ADT_A01", f"{NAME}^{FORENAME}".encode()),
        whole.replace(b"MSH|", b"XSH|"),
        b"PID|1||" + IDENTIFIER.encode() + b"||" + NAME.encode() + b"\r",
        whole[: len(whole) // 2],
        whole.replace(b"UNICODE UTF-8", NAME.encode()),
        whole.replace(b"|P|2.5.1", f"|{NAME}|{FORENAME}".encode()),
        NAME.encode() * 1000,
    ]


async def test_names_and_identifiers_stay_inside_the_envelope(tmp_path: Path) -> None:
    port, sink = free_port(), Sink(tmp_path)
    site = Site(
        tmp_path,
        mllp_in(port) + mllp_out(sink.port, more="[adapter.retry]\nmax_attempts = 1"),
    )
    await sink.start("--code", "AE", "--code-for-first", "3")
    async with running(site, sink):
        wire: list[bytes] = []

        def watch(message: Incoming) -> None:
            headers = json.dumps(dict(message.headers or {})).encode()
            wire.append(
                message.subject.encode() + b" " + message.reply.encode() + headers + message.payload
            )

        access = json.loads((site.data / "nats" / "connection.json").read_text())
        spy = await connect(
            access["servers"],
            name="spy",
            credentials=Credentials(user=access["user"], password=access["password"]),
        )
        await spy.messenger.subscribe(">", watch)
        tally = Tally()
        await send_all(port, [marked(n) for n in range(40)], tally)
        for broken in hostile(100):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(START + broken + END)
            await asyncio.wait({asyncio.create_task(reader.read(4096))}, timeout=2)
            writer.close()
        await sink.received(40, within_s=40)
        await spy.close()
        assert await site.stop() == 0
        assert site.child is not None
        printed = "".join([*site.child.lines, *site.child.errors]).encode()
    assert len(wire) > 40, "the spy saw the traffic"
    for mark in MARKS:
        assert not any(mark in seen for seen in wire), "on the wire"
        assert mark not in printed, "in what medmesh prints"
        for path in site.data.rglob("*"):
            if path.is_file():
                assert mark not in path.read_bytes(), f"in {path.relative_to(site.data)}"
                assert mark.decode() not in str(path), "in a file's name"
