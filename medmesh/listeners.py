"""Who listens on a port: asked of the kernel's own tables (Linux), so that an error can name the program to look at."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

_LISTENING: Final = "0A"
_LOCAL, _STATE, _INODE = 1, 3, 9


def owner(port: int) -> tuple[int, str] | None:
    """Process id and name of the program that listens on a TCP port; None when nobody does or it is hidden."""
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not inodes:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    if str(descriptor.readlink()) in inodes:
                        return int(process.name), (process / "comm").read_text().strip()
    return None


def _listening_inodes(port: int) -> list[str]:
    wanted = f"{port:04X}"
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[_STATE] == _LISTENING and columns[_LOCAL].endswith(f":{wanted}"):
                    found.append(columns[_INODE])
    return found


def taken_words(address: str) -> str:
    """`; it is taken by nginx (process 812)` for an address that is in use, otherwise an empty string."""
    port = address.rpartition(":")[2]
    found = owner(int(port)) if port.isdigit() and port != "0" else None
    return f"; it is taken by {found[1]} (process {found[0]})" if found else ""


__all__ = ["owner", "taken_words"]
