"""Body encodings on the mesh: dictionaries lie in a bucket, by their hash, before anyone encodes with them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from bus.bodies import BadBody, BodyCodec
from bus.telemetry.counters import Counters
from bus.telemetry.log import logger
from bus.transport.protocol import KeyValue, NotFound, Transport
from schemas.errors import MeshError, Unavailable

DICTIONARY_BUCKET: Final = "dictionaries"
"""Key: the SHA-256 in hex. Value: the dictionary. Nothing in it ever changes."""
_TIMEOUT_S: Final = 5.0
_OFFER_AGAIN_S: Final = 60.0
_ResultT = TypeVar("_ResultT")
_log = logger(__name__)


class Bodies:
    """The codec of one process's events, and the bucket that holds what it needs. One for each connection."""

    def __init__(
        self, transport: Transport, counters: Counters, codec: BodyCodec | None = None
    ) -> None:
        self.codec = codec or BodyCodec()
        self._transport = transport
        self._counters = counters
        self._bucket: KeyValue | None = None
        self._again: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Put our dictionaries where readers of every version find them. Raises nothing.

        One that cannot be put is not used: bodies are compressed without it until it could be, a minute later or more.
        """
        if self._again is None and not await self._offer():
            self._again = asyncio.create_task(self._offer_later(), name="offer dictionaries")

    async def stop(self) -> None:
        """End what runs in the background."""
        task, self._again = self._again, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def fetch(self, dictionary_id: bytes) -> bool:
        """Learn a dictionary from the bucket; False when it has none of that id, or another one in its place.

        Raises what the carrier says when the bucket cannot be asked now, and `Unavailable` after five seconds.
        """
        raw = await self._get(dictionary_id.hex())
        if raw is None:
            return False
        try:
            self.codec.dictionaries.learn(dictionary_id, raw)
        except BadBody as error:
            # the bucket is not trusted, and the message may be fine: it is as if there were nothing
            self._counters.add("dictionary_refused", who=DICTIONARY_BUCKET, reason=error.reason)
            _log.warning("dictionary_refused", reason=error.reason.value)
            return False
        self._counters.add("dictionary_learned", who=DICTIONARY_BUCKET)
        return True

    async def _offer_later(self) -> None:
        while True:
            await asyncio.sleep(_OFFER_AGAIN_S)
            if await self._offer():
                return

    async def _offer(self) -> bool:
        """Whether every dictionary that we encode with lies in the bucket."""
        if not self.codec.policy.compress:
            return True
        dictionaries = self.codec.dictionaries
        for one in dictionaries.current():
            if dictionaries.is_offered(one.id):
                continue
            try:
                await self._put(one.id.hex(), one.raw)
            except MeshError as error:
                self._counters.add("dictionary_not_offered", who=one.kind, reason=error.code)
                _log.warning("dictionary_not_offered", kind=one.kind, reason=error.code)
                return False
            dictionaries.offered(one.id)
        return True

    async def _put(self, key: str, raw: bytes) -> None:
        if await self._get(key) != raw:
            await self._call((await self._open()).put(key, raw))

    async def _get(self, key: str) -> bytes | None:
        try:
            return (await self._call((await self._open()).get(key))).value
        except NotFound:
            return None

    async def _open(self) -> KeyValue:
        if self._bucket is None:
            self._bucket = await self._call(self._transport.key_value(DICTIONARY_BUCKET))
        return self._bucket

    async def _call(self, call: Awaitable[_ResultT]) -> _ResultT:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await call
        except TimeoutError:
            raise Unavailable(
                f"bucket {DICTIONARY_BUCKET} did not answer within {_TIMEOUT_S} s"
            ) from None


__all__ = ["DICTIONARY_BUCKET", "Bodies"]
