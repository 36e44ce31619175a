"""A small disk that a test can fill."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_SYS_ADMIN = 1 << 21
"""The right to mount, among the capabilities of a process (capability.h)."""


def small_disk_at(folder: Path, *, megabytes: int = 6) -> Iterator[Path]:
    """Mount a small file system for the time of a test; skips where the right to mount is missing.

    Who has that right must see it work: a failing mount skips on a developer's machine, and fails in CI.
    """
    if not _may_mount():
        pytest.skip("mounting a small disk needs root (CAP_SYS_ADMIN)")
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder)]
    )
    if mounted.returncode:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "a small disk cannot be mounted here"
        )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _may_mount() -> bool:
    status = Path("/proc/self/status").read_text().splitlines()
    held = next(line.split()[1] for line in status if line.startswith("CapEff:"))
    return os.geteuid() == 0 and bool(int(held, 16) & _SYS_ADMIN)


def fill(folder: Path) -> Path:
    """Use up the disk; removing the file that is returned makes room again."""
    waste = folder / "waste"
    with waste.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return waste
