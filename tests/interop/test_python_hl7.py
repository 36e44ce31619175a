"""python-hl7 as a peer on both sides of a site, and `medmesh send` through mutual TLS."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import hl7
import pytest
from hl7.client import MLLPClient
from hl7.mllp import open_hl7_connection, start_hl7_server
from hl7.mllp.streams import HL7StreamReader, HL7StreamWriter

from tests.hospital import Process, Sink, Site, mllp_in, mllp_out, running, start
from tests.peers.sender import control_id, synthetic
from tests.ports import free_port

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(90)]

MESSAGES = [synthetic(number) for number in range(50)]
CONTROLS = [control_id(message).decode() for message in MESSAGES]


class PythonHl7Receiver:
    """A receiving system written with hl7.mllp: parses each message, and acknowledges with what it builds itself."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.came = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def connected(self, reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)

    async def _serve(self, reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                message = await reader.readmessage()
                self.received.append(str(message))
                self.came.set()
                writer.writemessage(message.create_ack("AA"))
                await writer.drain()
        writer.close()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.received) < count:
                self.came.clear()
                await self.came.wait()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def python_hl7_server() -> AsyncIterator[tuple[int, PythonHl7Receiver]]:
    """(port, receiver)"""
    receiver = PythonHl7Receiver()
    server = await start_hl7_server(receiver.connected, "127.0.0.1", 0, encoding="utf-8")
    try:
        yield server.sockets[0].getsockname()[1], receiver
    finally:
        server.close()
        await receiver.stop()
        await server.wait_closed()


def answer_of(raw: bytes) -> tuple[str, str]:
    """(MSA-1, MSA-2) as python-hl7 reads an acknowledgement in its frame."""
    msa = hl7.parse(raw.decode().strip("\x0b\x1c\r") + "\r").segment("MSA")
    return str(msa[1]), str(msa[2])


async def test_python_hl7_sends_and_receives_through_a_site(tmp_path: Path) -> None:
    port = free_port()
    async with python_hl7_server() as (his, receiver):
        site = Site(tmp_path, mllp_in(port) + mllp_out(his))
        async with running(site):
            reader, writer = await open_hl7_connection("127.0.0.1", port, encoding="utf-8")
            for message, control in zip(MESSAGES, CONTROLS, strict=True):
                writer.writemessage(hl7.parse(message.decode()))
                await writer.drain()
                async with asyncio.timeout(10):
                    answer = await reader.readmessage()
                assert (str(answer.segment("MSA")[1]), str(answer.segment("MSA")[2])) == (
                    "CA",
                    control,
                )
            writer.close()
            await writer.wait_closed()
            await receiver.until(len(MESSAGES))
            assert receiver.received == [str(hl7.parse(m.decode())) for m in MESSAGES]
            assert await site.stop() == 0


async def test_the_blocking_client_of_python_hl7_is_answered(tmp_path: Path) -> None:
    port, sink = free_port(), Sink(tmp_path)
    await sink.start()

    def converse() -> list[tuple[str, str]]:
        with MLLPClient("127.0.0.1", port) as client:
            client.socket.settimeout(10)
            return [answer_of(client.send_message(message)) for message in MESSAGES]

    async with running(Site(tmp_path, mllp_in(port) + mllp_out(sink.port)), sink):
        assert await asyncio.to_thread(converse) == [("CA", control) for control in CONTROLS]
        await sink.received(len(MESSAGES), within_s=20)
        assert [control for control, _ in sink.journal.received] == CONTROLS


async def medmesh(*arguments: str) -> Process:
    child = await start(["-m", "medmesh", *arguments])
    async with asyncio.timeout(60):
        await child.ended()
    return child


async def test_mutual_tls_takes_known_senders_and_no_others(tmp_path: Path) -> None:
    port, sink, keys = free_port(), Sink(tmp_path), tmp_path / "keys"
    made = await medmesh("keys", "tls", str(keys), "--host", "127.0.0.1", "--json")
    assert made.process.returncode == 0, made.errors
    others = await medmesh("keys", "tls", str(tmp_path / "others"), "--host", "127.0.0.1")
    assert others.process.returncode == 0
    tls = f'[adapter.tls]\ncert = "{keys}/server.pem"\nkey = "{keys}/server.key"\nclient_ca = "{keys}/ca.pem"'
    (tmp_path / "many.hl7").write_bytes(b"".join(MESSAGES))
    await sink.start()
    async with running(Site(tmp_path, mllp_in(port, more=tls) + mllp_out(sink.port)), sink):

        async def send(folder: Path, *, own: bool = True) -> dict[str, object]:
            certificate = ["--cert", f"{folder}/client.pem", "--key", f"{folder}/client.key"]
            child = await medmesh(
                "send", str(tmp_path / "many.hl7"), "--to", f"mllps://127.0.0.1:{port}",
                "--ca", f"{keys}/ca.pem", *(certificate if own else []), "--timeout", "5", "--json",
            )  # fmt: skip
            summary: dict[str, object] = json.loads(child.lines[-1])
            return summary

        assert (await send(tmp_path / "others"))["accepted"] == 0
        assert (await send(keys, own=False))["accepted"] == 0
        summary = await send(keys)
        assert (summary["accepted"], summary["lost"]) == (len(MESSAGES), 0)
        await sink.received(len(MESSAGES), within_s=20)
        assert [control for control, _ in sink.journal.received] == CONTROLS
        # A peer that is no medmesh: python-hl7 over the same TLS.
        context = ssl.create_default_context(cafile=str(keys / "ca.pem"))
        context.load_cert_chain(keys / "client.pem", keys / "client.key")
        reader, writer = await open_hl7_connection("127.0.0.1", port, ssl=context, encoding="utf-8")
        writer.writemessage(hl7.parse(synthetic(900).decode()))
        async with asyncio.timeout(10):
            assert str((await reader.readmessage()).segment("MSA")[1]) == "CA"
        writer.close()
        await writer.wait_closed()
