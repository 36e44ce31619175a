"""The server's monitoring port: what JetStream's own API does not tell."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final
from urllib.parse import urlsplit

from schemas.errors import ConfigurationError

_TIMEOUT_S: Final = 2.0
_MOST_BYTES: Final = 16 * 1024 * 1024


class Monitor:
    """Reads `/jsz` and `/healthz` of one server (nats-server's `http` port)."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or not parts.port:
            raise ConfigurationError(
                f"nats.monitor_url: {url!r} is not of the form http://host:port"
            )
        self._host, self._port = parts.hostname, parts.port

    async def sync_always(self) -> bool | None:
        """Whether each write is fsynced before it is acknowledged; None when the server does not tell."""
        answer = await self._get("/jsz?config=1")
        always = answer.get("config", {}).get("sync_always", False) if answer else None
        return always if isinstance(always, bool) else None

    async def trouble(self) -> str:
        """What the server says is wrong with itself (`no space left on device`); empty when it is well or silent."""
        answer = await self._get("/healthz")
        return str(answer.get("error", "")) if answer else ""

    async def _get(self, path: str) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(
                    self._host, self._port, limit=_MOST_BYTES
                )
                try:
                    writer.write(
                        f"GET {path} HTTP/1.0\r\nHost: {self._host}\r\nConnection: close\r\n\r\n".encode()
                    )
                    raw = await reader.read(-1)
                finally:
                    writer.close()
            answer = json.loads(raw.partition(b"\r\n\r\n")[2])
        except (OSError, TimeoutError, ValueError):
            return None
        return answer if isinstance(answer, dict) else None


__all__ = ["Monitor"]
