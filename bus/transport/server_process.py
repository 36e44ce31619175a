"""The server's process: started on a leash, recognised after a crash of ours, ended for sure."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Final

_LEASH: Final = """
import ctypes, os, signal, sys
ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Run between fork and the server: prctl(PR_SET_PDEATHSIG) lasts over exec, so the kernel ends the server with the
thread that started it: the one of the event loop. A small Python of its own does it, because code of this process
between fork and exec is not safe where threads run."""
_LOOK_S: Final = 0.02


async def spawn(binary: Path, config: Path, output: Path) -> asyncio.subprocess.Process:
    """Start the server. It ends when this process does, in whatever way that happens (Linux)."""
    command = [str(binary), "-c", str(config)]
    if sys.platform == "linux":
        command = [sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid()), *command]
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        # a session of its own: Ctrl-C in the terminal is for medmesh, which drains first
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            start_new_session=True,
        )
    finally:
        os.close(handle)


def started(pid: int) -> str:
    """When a process started, as the kernel counts it; empty when there is none or the system does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    # fields 3 and 22 of proc(5): a zombie has ended already
    return "" if fields[0] in "ZX" else fields[19]


def is_running(pid: int, start: str) -> bool:
    """Whether the process that was recorded still runs (and no later one has its number)."""
    return pid > 0 and bool(start) and started(pid) == start


async def end_orphan(pid: int, start: str, *, timeout_s: float) -> bool:
    """End a server that an earlier owner left behind; False when there was none."""
    if not is_running(pid, start):
        return False
    os.kill(pid, signal.SIGCONT)
    os.kill(pid, signal.SIGTERM)
    if not await _gone(pid, start, timeout_s):
        os.kill(pid, signal.SIGKILL)
        await _gone(pid, start, timeout_s)
    return True


async def _gone(pid: int, start: str, timeout_s: float) -> bool:
    end = asyncio.get_running_loop().time() + timeout_s
    while is_running(pid, start):  # not our child: nobody tells us of its end
        if asyncio.get_running_loop().time() > end:
            return False
        await asyncio.sleep(_LOOK_S)
    return True


async def end(process: asyncio.subprocess.Process, *, timeout_s: float) -> bool:
    """End our own server: SIGTERM, after `timeout_s` SIGKILL. Returns whether it went in peace."""
    if process.returncode is not None:
        return True
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        async with asyncio.timeout(timeout_s):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        return False
    return True


async def answers(port: int, *, timeout_s: float) -> bool:
    """Whether a NATS server greets on the port."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                return (await reader.readexactly(5)) == b"INFO "
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False


__all__ = ["answers", "end", "end_orphan", "is_running", "spawn", "started"]
