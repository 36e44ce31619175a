"""Routes by the longest prefix. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.part import Mount
from schemas.errors import ConfigurationError


class Router:
    """Finds the mount of a path. A prefix that ends with `/` stands for everything below it, another for itself."""

    def __init__(self, mounts: Iterable[Mount]) -> None:
        self._exact: dict[str, Mount] = {}
        self._below: dict[str, Mount] = {}
        for mount in mounts:
            table = self._below if mount.prefix.endswith("/") else self._exact
            if not mount.prefix.startswith("/") or mount.prefix in table:
                raise ConfigurationError(f"two parts of the gateway claim {mount.prefix!r}")
            table[mount.prefix] = mount
        self._longest = max(map(len, self._below), default=0)

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Every prefix, sorted."""
        return tuple(sorted((*self._exact, *self._below)))

    def find(self, path: str) -> Mount | None:
        """The mount of a path, None where nothing stands. Costs a look-up for each step within the longest prefix."""
        found = self._exact.get(path)
        if found is not None:
            return found
        end = min(len(path), self._longest)
        while (end := path.rfind("/", 0, end)) >= 0:
            found = self._below.get(path[: end + 1])
            if found is not None:
                return found
        return None


__all__ = ["Router"]
