"""Questions to JetStream (`$JS.API.…`): JSON in, JSON out, errors as ours."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import Any, Final, TypeAlias

from bus.transport.nats.connection import Connection
from bus.transport.nats.errors import from_api
from bus.transport.nats.requests import Requests
from bus.transport.protocol import NoResponders
from schemas.errors import MeshError, Unavailable

Json: TypeAlias = dict[str, Any]
"""One JSON object of the JetStream API (ADR-1 to ADR-50 of nats-architecture-and-design)."""

NS: Final = 1_000_000_000
_RETRY_S: Final = 0.1


class JetStream:
    """Asks, and asks again where asking twice does no harm."""

    def __init__(self, connection: Connection, requests: Requests) -> None:
        self.connection = connection
        self.requests = requests

    async def ask(
        self, verb: str, question: Json | None = None, *, timeout_s: float | None = None
    ) -> Json:
        """One question, e.g. `STREAM.INFO.EVT`. While the server is away it is asked again until the deadline.

        Raises what the error in the answer stands for, `PermissionRefused`, `Unavailable`, `DeadlineExceeded`.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + (timeout_s or self.connection.options.api_timeout_s)
        while True:
            try:
                await self.connection.ready(max(0.0, end - loop.time()))
                return await self._ask_once(verb, question, max(0.001, end - loop.time()))
            except (Unavailable, NoResponders) as error:
                if loop.time() + _RETRY_S >= end:
                    raise Unavailable(f"JetStream is not available ({verb}): {error}") from None
                await asyncio.sleep(_RETRY_S)

    async def _ask_once(self, verb: str, question: Json | None, timeout_s: float) -> Json:
        payload = b"" if question is None else json.dumps(question).encode()
        answer = await self.requests.ask(f"$JS.API.{verb}", payload, timeout_s=timeout_s)
        return read_answer(answer.payload, what=verb)


def read_answer(payload: bytes, *, what: str) -> Json:
    """A JetStream answer without its error. Raises what the error stands for."""
    try:
        answer = json.loads(payload)
    except ValueError:
        raise MeshError(f"{what}: the server answered something that is not JSON") from None
    if not isinstance(answer, dict):
        raise MeshError(f"{what}: the server answered something that is no JSON object")
    if answer.get("error"):
        raise from_api(answer["error"], what=what)
    return answer


def milliseconds(timestamp: str) -> int:
    """`2026-11-22T17:03:49.251290539Z` as milliseconds since 1970 (Python reads six decimals, Go writes nine)."""
    whole, _, fraction = timestamp.removesuffix("Z").partition(".")
    seconds = datetime.fromisoformat(f"{whole}+00:00").timestamp()
    return int(seconds) * 1000 + int((fraction + "000")[:3])


__all__ = ["NS", "JetStream", "Json", "milliseconds", "read_answer"]
