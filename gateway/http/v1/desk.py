"""What every route of `/v1` does alike: who asks, whether it may, that it is written down, and what happens once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Final

from bus.flow.priority import Priority
from bus.telemetry.counters import Counters
from gateway.access.protocol import (
    Access,
    AccessRecord,
    Begins,
    Client,
    Deed,
    Forbidden,
)
from gateway.http.exchange import Refused
from gateway.http.problems import Problem
from gateway.http.request import Bounds, Request, bad_request
from schemas.errors import MeshError
from schemas.keyed import keyed_hash

_ID_BYTES: Final = 16
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}\Z")
_HTTP: Final = {"way": "http"}
_PRIORITIES: Final = {one.name.lower(): one for one in Priority}


class Desk:
    """Shared by the routes; holds no state that another gateway would need."""

    def __init__(
        self, access: Access, bounds: Bounds, *, site_key: bytes, counters: Counters
    ) -> None:
        self.bounds = bounds
        self._access = access
        self._begins = access if isinstance(access, Begins) else None
        self._hash = keyed_hash(site_key)
        self._counters = counters
        self._records: set[asyncio.Task[None]] = set()

    @property
    def access(self) -> Access:
        """Who decides."""
        return self._access

    async def admit(self, request: Request) -> Client:
        """Who asks, counted against its rate. Raises `Unauthenticated`, `TooMany`."""
        client = await self._access.identify(request.credentials())
        self._access.admit(client)
        return client

    def allow(
        self, client: Client, request: Request, deed: Deed, what: str, ask: Callable[[], None]
    ) -> None:
        """Ask whether it may; a refusal is written down. Raises `Forbidden`."""
        try:
            ask()
        except Forbidden as error:
            self._counters.add("http_forbidden", who=client.name, reason=error.code)
            record = _record(client, request, deed, what, is_allowed=False)
            self._keep(self._access.record(record))
            raise

    def record(
        self, client: Client, request: Request, deed: Deed, what: str
    ) -> asyncio.Future[None]:
        """Begin to write down what is being done: also when the client goes away meanwhile. Raises `Refused`."""
        record = _record(client, request, deed, what, is_allowed=True)
        if self._begins is None:
            return self._keep(self._access.record(record))
        try:
            return self._begins.begin(record)
        except MeshError as error:
            raise Refused(_not_recorded(error)) from None

    async def recorded(self, record: asyncio.Future[None]) -> None:
        """Wait until it is kept; before that nothing is given out. Raises `Refused`."""
        try:
            await (record if self._begins is not None else asyncio.shield(record))
        except MeshError as error:
            raise Refused(_not_recorded(error)) from None

    def id_for(self, client: Client, request: Request, *about: str) -> bytes:
        """16 bytes for what must happen once, from `Idempotency-Key`; empty without one. Raises `Refused`.

        The same client, address and key give the same ones at every gateway of the site.
        """
        raw = request.headers.get(b"idempotency-key")
        if raw is None:
            return b""
        key = raw.decode("latin-1").strip()
        if not _KEY.match(key):
            raise Refused(
                bad_request(
                    "idempotency_key", "Idempotency-Key has 1 to 255 visible ASCII characters"
                )
            )
        parts = ("http", client.name, client.user, *about, key)
        return self._hash.digest(*(_sized(one) for one in parts))[:_ID_BYTES]

    def priority(self, request: Request) -> Priority:
        """`Medmesh-Priority`. Raises `Refused`."""
        told = request.text(b"medmesh-priority")
        if not told:
            return Priority.ROUTINE
        found = _PRIORITIES.get(told.lower())
        if found is None:
            raise Refused(
                bad_request(
                    "priority",
                    "that is no value of Medmesh-Priority",
                    allowed=sorted(_PRIORITIES),
                )
            )
        return found

    async def close(self, *, timeout_s: float) -> None:
        """Wait for what is being written down, so long and no longer."""
        tasks = tuple(self._records)
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _keep(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._records.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._records.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            reason = error.code if isinstance(error, MeshError) else type(error).__name__
            self._counters.add("http_record_failed", who="http", reason=reason)


def _record(
    client: Client, request: Request, deed: Deed, what: str, *, is_allowed: bool
) -> AccessRecord:
    return AccessRecord(
        client=client,
        deed=deed,
        what=what,
        allowed=is_allowed,
        status=0 if is_allowed else HTTPStatus.FORBIDDEN,
        remote=request.remote,
        details=_HTTP,
    )


def _not_recorded(error: MeshError) -> Problem:
    return Problem(
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        code="not_recorded",
        detail="the access record could not be kept, so nothing is given out; what was asked may have been done, and "
        "under the same Idempotency-Key it may be asked again",
        retry_after_s=1.0,
        more={"reason": error.code},
    )


def _sized(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(4, "big") + raw


__all__ = ["Desk"]
