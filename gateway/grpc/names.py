"""Names: `/lab.v1.Results/GetResult` on the wire, `get_result` in the mesh. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_PATH: Final = re.compile(r"/([A-Za-z_][\w.]{0,254})/([A-Za-z_]\w{0,127})\Z", re.ASCII)
_WORD: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_MAX_TOKEN_CHARS: Final = 64


def split_path(path: str) -> tuple[str, str] | None:
    """Service and method of a path; None for what is no path of gRPC."""
    found = _PATH.match(path)
    return (found[1], found[2]) if found else None


def snake(name: str) -> str:
    """`GetResult` to `get_result`, `HTTPGet` to `http_get`, at most 64 characters: a token of a subject."""
    return _WORD.sub("_", name).lower()[:_MAX_TOKEN_CHARS]


def mesh_method(name: str, offered: Iterable[str]) -> str:
    """The method of a service that is meant by a gRPC method's name; empty when none of those offered is.

    `GetResult` means `get_result`, else the one that has the same letters: `getresult`, `get-result`.
    """
    known = tuple(offered)
    wanted = snake(name)
    if wanted in known or not known:
        return wanted
    letters = _letters(name)
    return next((one for one in known if _letters(one) == letters), "")


def _letters(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


__all__ = ["mesh_method", "snake", "split_path"]
