"""Key sets of a gateway: a file must be there at the start, an address may come later."""

from __future__ import annotations

from gateway.access.jwks import Keys
from schemas.errors import ConfigurationError, MeshError


class Source:
    """One key set and where it comes from."""

    def __init__(self, keys: Keys, *, who: str, is_local: bool) -> None:
        self._keys = keys
        self._who = who
        self._is_local = is_local

    async def start(self) -> None:
        """Read it. Raises `ConfigurationError` for a file that cannot be used.

        An address that does not answer now is asked again when a token comes: a gateway must start without it.
        """
        if not self._is_local:
            self._keys.begin()
            return
        try:
            await self._keys.read()
        except MeshError as error:
            raise ConfigurationError(f"gateway: jwks of {self._who}: {error}") from None

    async def stop(self) -> None:
        """End what is under way."""
        await self._keys.stop()


__all__ = ["Source"]
