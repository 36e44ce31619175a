"""Checks of the machine: Python, disk, what a sync to disk costs, limits on open files, the clock."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import resource
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Final

from medmesh.doctor.finding import Finding, good, note, wrong
from schemas.clock import Clock

_AREA: Final = "machine"
_GIB: Final = 1 << 30
_LOWEST_FREE_BYTES: Final = _GIB
_FSYNC_ROUNDS: Final = 20
_SLOW_FSYNC_MS: Final = 10.0
_FEWEST_FILES: Final = 4096
_EARLIEST_MS: Final = 1_767_225_600_000  # 2026-01-01: before this version was made
_TIME_ERROR: Final = 5
_TIMEX_BYTES: Final = 512


def check_machine(data: Path, clock: Clock, *, event_bytes: int) -> list[Finding]:
    """Every check of the machine; `data` need not exist yet."""
    folder = _nearest_existing(data)
    return [
        _python(),
        _space(data, folder, event_bytes),
        _fsync(data, folder, clock),
        _files(),
        *_clock(clock),
    ]


def _nearest_existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _python() -> Finding:
    version = platform.python_version()
    loop = "with uvloop" if importlib.util.find_spec("uvloop") else "without uvloop"
    saw = f"Python {version} {loop}"
    if importlib.util.find_spec("uvloop") is None:
        return note(_AREA, "python", saw, "install uvloop: the mesh is much slower without it")
    return good(_AREA, "python", saw)


def _space(data: Path, folder: Path, event_bytes: int) -> Finding:
    free = shutil.disk_usage(folder).free
    saw = f"{free / _GIB:.1f} GiB free for {data}"
    if free < _LOWEST_FREE_BYTES:
        return wrong(
            _AREA,
            "disk",
            saw,
            "free some space or move mesh.data: a full disk refuses every message",
        )
    if free < event_bytes:
        return note(
            _AREA,
            "disk",
            f"{saw}, less than limits.event_bytes ({event_bytes / _GIB:.1f} GiB)",
            "the disk will be full before the stream is: lower limits.event_bytes or add space",
        )
    return good(_AREA, "disk", saw)


def _fsync(data: Path, folder: Path, clock: Clock) -> Finding:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".medmesh-doctor-") as file:
            costs_ms = [_one_fsync_ms(file.fileno(), clock) for _ in range(_FSYNC_ROUNDS)]
    except OSError as error:
        return wrong(
            _AREA,
            "fsync",
            f"cannot write to {folder}: {error.strerror}",
            f"give the user that runs medmesh the right to write {data}",
        )
    median_ms, worst_ms = statistics.median(costs_ms), max(costs_ms)
    saw = f"a write to disk takes {median_ms:.2f} ms (worst of {_FSYNC_ROUNDS}: {worst_ms:.2f} ms)"
    if median_ms > _SLOW_FSYNC_MS:
        return note(
            _AREA,
            "fsync",
            saw,
            "each group of messages waits for one: a faster disk is a faster mesh",
        )
    return good(_AREA, "fsync", saw)


def _one_fsync_ms(descriptor: int, clock: Clock) -> float:
    os.write(descriptor, bytes(4096))
    started_s = clock.monotonic_s()
    os.fsync(descriptor)
    return (clock.monotonic_s() - started_s) * 1000


def _files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    saw = f"up to {soft} open files and connections"
    if 0 <= soft < _FEWEST_FILES:
        return note(
            _AREA,
            "open files",
            saw,
            f"thousands of connections need more: `ulimit -n {min(hard, 65536)}`, or LimitNOFILE= in the unit",
        )
    return good(_AREA, "open files", saw)


def _clock(clock: Clock) -> list[Finding]:
    if clock.now_ms() < _EARLIEST_MS:
        return [
            wrong(
                _AREA,
                "clock",
                "the clock stands before 2026",
                "set it (chrony, systemd-timesyncd): envelopes and certificates are judged by it",
            )
        ]
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(
            ctypes.create_string_buffer(_TIMEX_BYTES)
        )
    except (OSError, AttributeError):
        return []
    if state == _TIME_ERROR:
        return [
            note(
                _AREA,
                "clock",
                "the system does not call its clock synchronised",
                "run chrony or systemd-timesyncd: machines of a mesh may differ by two minutes at most",
            )
        ]
    return [good(_AREA, "clock", "synchronised")] if state >= 0 else []


__all__ = ["check_machine"]
