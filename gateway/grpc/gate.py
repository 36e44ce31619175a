"""What every RPC passes: who asks, how often, how long it may take, how many are in hand; and its record."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Final

from bus.services.channel import CALL_TTL_S
from bus.telemetry.counters import Counters
from gateway.access.protocol import Access, AccessRecord, Client, Deed, Forbidden
from gateway.grpc.exchange import IDEMPOTENCY_KEY, Arrival
from gateway.grpc.status import RpcFailed, Status, draining, failure_of, unavailable
from schemas.errors import DeadlineExceeded, MeshError
from schemas.keyed import keyed_hash

_BUSY_S: Final = 1.0
_ID_BYTES: Final = 16


class Places:
    """How many may be in hand at a time; further ones are refused, not queued."""

    def __init__(self, limit: int, setting: str) -> None:
        self._limit = limit
        self._setting = setting
        self._taken = 0
        self._is_closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one. Raises `RpcFailed`."""
        if self._is_closed:
            raise draining()
        if self._taken >= self._limit:
            raise unavailable(
                f"{self._limit} are in work at this gateway ([gateway] {self._setting})",
                reason="too_many_in_work",
                retry_after_s=_BUSY_S,
            )
        self._taken += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._taken -= 1
            if not self._taken:
                self._idle.set()

    @property
    def taken(self) -> int:
        """How many are held."""
        return self._taken

    def close(self) -> None:
        """Refuse whatever comes from now on: another gateway takes it."""
        self._is_closed = True

    async def idle(self) -> None:
        """Return when none is held."""
        await self._idle.wait()


class Gate:
    """Asks `Access`, in the terms of gRPC."""

    def __init__(
        self, access: Access, *, timeout_s: float, site_key: bytes, counters: Counters
    ) -> None:
        self._access = access
        self._timeout_s = timeout_s
        self._hash = keyed_hash(site_key)
        self._counters = counters
        self._records: set[asyncio.Task[None]] = set()

    @property
    def access(self) -> Access:
        """Who decides."""
        return self._access

    async def admit(self, arrival: Arrival) -> Client:
        """Who asks, counted against its rate. Raises `Unauthenticated`, `TooMany`."""
        client = await self._access.identify(arrival.credentials)
        self._access.admit(client)
        return client

    def timeout_s(self, arrival: Arrival) -> float:
        """How long the call may take: what the client waits, and no longer than the gateway or the mesh allow.

        Raises `DeadlineExceeded` when nothing is left.
        """
        wanted = self._timeout_s if arrival.timeout_s is None else arrival.timeout_s
        if wanted <= 0:
            raise DeadlineExceeded("the client's deadline has passed")
        return min(wanted, self._timeout_s, CALL_TTL_S)

    def id_for(self, client: Client, arrival: Arrival, *about: str) -> bytes:
        """The id of what must happen once, from the client's `idempotency-key`; empty without one.

        The same client, thing and key give the same 16 bytes at every gateway of the site.
        """
        key = arrival.metadata.get(IDEMPOTENCY_KEY, "")
        if not key:
            return b""
        parts = ("grpc", client.name, client.user, *about, key)
        return self._hash.digest(*(_sized(one) for one in parts))[:_ID_BYTES]

    def check(
        self, client: Client, arrival: Arrival, deed: Deed, what: str, subject: str = ""
    ) -> None:
        """Ask whether a client may do it; a refusal is written down. Raises `Forbidden`.

        `what`: the subject or pattern, or `<service>/<method>` of a call (`lab.v2/get` for another version than 1).
        """
        try:
            match deed:
                case Deed.WRITE:
                    self._access.may_publish(client, what)
                case Deed.SUBSCRIBE:
                    self._access.may_subscribe(client, what)
                case _:
                    service, _, method = what.partition("/")
                    self._access.may_call(client, service, method)
        except Forbidden:
            self._counters.add("grpc_forbidden", who=client.name, reason=deed.value)
            self._keep(self._write(client, arrival, deed, what, is_allowed=False))
            raise

    def record(self, client: Client, arrival: Arrival, deed: Deed, what: str) -> asyncio.Task[None]:
        """Begin to write down what is being done; await it before anything is given out.

        It is written also when the client goes away meanwhile.
        """
        return self._keep(self._write(client, arrival, deed, what, is_allowed=True))

    async def _write(
        self, client: Client, arrival: Arrival, deed: Deed, what: str, *, is_allowed: bool
    ) -> None:
        record = AccessRecord(
            client=client,
            deed=deed,
            what=what,
            allowed=is_allowed,
            remote=arrival.remote,
            details={"grpc": arrival.path},
        )
        await self._access.record(record)

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
            self._counters.add("grpc_record_failed", reason=reason)

    async def close(self, *, timeout_s: float) -> None:
        """Wait for what is being written down, so long and no longer."""
        tasks = tuple(self._records)
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def written(record: asyncio.Task[None]) -> None:
    """Wait until a record is kept; the record goes on when the waiting is cancelled.

    Raises `RpcFailed`: what it speaks of must not be given out.
    """
    try:
        await asyncio.shield(record)
    except MeshError as error:
        failure = failure_of(error)
        raise RpcFailed(
            failure.status if failure.status is Status.UNAVAILABLE else Status.INTERNAL,
            "the access record could not be kept, so nothing is given out",
            reason="not_recorded",
        ) from None


def _sized(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(4, "big") + raw


__all__ = ["Gate", "Places", "written"]
