"""Services that were given rights from Python programs on this machine, remembered as `<data>/services/<name>.json`.

`medmesh up` keeps their certificates alive, so that events are sealed for a program that is away for a week as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from adapters.contract import Rights
from bus.trust.files import locked, private_folder, read_private, write_atomic
from schemas import subjects
from schemas.errors import ConfigurationError, SubjectError


class ServiceRegistry:
    """The remembered services of one data folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """Every remembered service, sorted."""
        if not self._folder.is_dir():
            return []
        return sorted(path.stem for path in self._folder.glob("*.json"))

    def read(self, name: str) -> Rights:
        """What a service may do; nothing for one that is not remembered. Raises `ConfigurationError`."""
        try:
            raw = read_private(self._path(name))
        except FileNotFoundError:
            return Rights()
        try:
            table = json.loads(raw)
            return Rights(
                publish=tuple(map(subjects.pattern, table["publish"])),
                subscribe=tuple(map(subjects.pattern, table["subscribe"])),
            )
        except (ValueError, KeyError, TypeError, SubjectError) as error:
            raise ConfigurationError(
                f"{self._path(name)} is not what medmesh wrote: remove it; the program asks for its rights again"
            ) from error

    def add(self, name: str, wanted: Rights) -> Rights:
        """Remember more rights of a service and return all it has now."""
        subjects.token(name, what="service")
        private_folder(self._folder)
        with locked(self._folder / ".lock"):
            held = self.read(name)
            together = Rights(
                publish=_together(held.publish, wanted.publish),
                subscribe=_together(held.subscribe, wanted.subscribe),
            )
            if together != held:
                write_atomic(self._path(name), json.dumps(asdict(together)).encode())
        return together

    def _path(self, name: str) -> Path:
        return self._folder / f"{subjects.token(name, what='service')}.json"


def _together(held: Iterable[str], wanted: Iterable[str]) -> tuple[str, ...]:
    """All patterns, without those that another one covers."""
    every = list(dict.fromkeys((*held, *wanted)))
    return tuple(
        one for one in every if not any(o != one and subjects.matches(o, one) for o in every)
    )


__all__ = ["ServiceRegistry"]
