"""`medmesh top` on a running site: as a document, and on a terminal that it leaves as it was."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
import termios
from pathlib import Path

import pytest

from tests.hospital import Site, archive, eventually, mllp_in, mllp_out, running, start
from tests.integration.medmesh.test_services import instance
from tests.ports import free_port
from tests.shared_data import ROOT

pytestmark = [pytest.mark.server, pytest.mark.alone, pytest.mark.timeout(180)]


async def test_a_document_tells_what_flows_serves_and_waits(tmp_path: Path) -> None:
    nobody, port = free_port(), free_port()
    site = Site(tmp_path, mllp_in(port) + mllp_out(nobody) + archive(tmp_path / "archive"))
    message = tmp_path / "one.hl7"
    message.write_bytes(
        b"MSH|^~\\&|EMR|N|HIS|N|20260101120000||ADT^A01|C1|P|2.5\rPID|1||4711^^^N\rPV1|1|I\r"
    )
    async with running(site), instance(site):
        sent = await start(
            ["-m", "medmesh", "send", str(message), "--to", f"mllp://127.0.0.1:{port}"]
        )
        await sent.ended()
        assert sent.process.returncode == 0, "".join(sent.errors)
        top = await start(["-m", "medmesh", "top", "--json", "--once", "-c", str(site.config)])
        await top.ended()

    assert top.process.returncode == 0, "".join(top.errors)
    (line,) = top.lines
    told = json.loads(line)
    assert told["site"] == "north"
    assert ("evt.north.raw.hl7v2", 1) in {(o["subject"], o["stored"]) for o in told["subjects"]}
    (clerk,) = (one for one in told["services"] if one["service"] == "clerk")
    assert clerk["health"] == "healthy"
    consumers = {one["name"]: one for one in told["consumers"]}
    assert consumers["his-out"]["waiting"] == 1
    assert consumers["his-out"]["oldest_s"] > 0
    assert consumers["archive"]["kind"] == "adapter"
    assert told["dead_letters"] == {}
    assert b"4711" not in line.encode()


@pytest.mark.parametrize("leave", [b"q", b"\x03"], ids=["q", "Ctrl-C"])
async def test_a_terminal_is_drawn_without_colour_where_asked_and_left_as_it_was(
    tmp_path: Path, leave: bytes
) -> None:
    site = Site(tmp_path, archive(tmp_path / "archive"))
    async with running(site):
        master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (40, 120))
        before = termios.tcgetattr(slave)
        screen = bytearray()
        loop = asyncio.get_running_loop()
        loop.add_reader(master, lambda: screen.extend(os.read(master, 65536)))
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c",
            # the terminal must be this process's own, so that Ctrl-C is a signal to it
            "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
            "os.execv(sys.executable, [sys.executable, '-m', 'medmesh', *sys.argv[1:]])",
            "top", "-c", str(site.config), "--interval", "0.2",
            stdin=slave, stdout=slave, stderr=slave, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "TERM": "xterm-256color"},
        )  # fmt: skip
        try:
            await eventually(lambda: screen.count(b"archive") > 1, within_s=60, what="two pictures")
            os.write(master, leave)
            async with asyncio.timeout(20):
                code = await child.wait()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
            loop.remove_reader(master)
        after = termios.tcgetattr(slave)
        os.close(master)
        os.close(slave)

    assert code == 0
    assert after == before
    assert b"\x1b[?1049l" in screen, "the other screen is left"
    assert b"\x1b[31m" not in screen
    assert b"Traceback" not in screen
