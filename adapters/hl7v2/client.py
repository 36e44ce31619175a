"""The MLLP client: takes events of the mesh to one receiving system, in order, until it has acknowledged each."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Final

from adapters.contract import AdapterRuntime, Condition, Health
from adapters.hl7v2.codec.errors import Hl7Error
from adapters.hl7v2.codec.filter import compile_filter
from adapters.hl7v2.config import MllpClientConfig, split_address
from adapters.hl7v2.exchange import Exchange
from adapters.hl7v2.link import Link, LinkState, Target
from adapters.hl7v2.tls import client_context
from bus.events.protocol import ConsumeSpec, Consumption, Receipt, ReceivedEvent, Rejected
from schemas.errors import MeshError, Unavailable

_DOUBTS: Final = 4096
"""Messages remembered as sent without an answer, so that their resend is counted as one."""


class MllpClient:
    """`hl7v2.mllp-client`."""

    def __init__(self, config: MllpClientConfig, runtime: AdapterRuntime) -> None:
        self._config = config
        self._runtime = runtime
        self._filter = (
            compile_filter(config.filter, charset=config.charset) if config.filter else None
        )
        self._undecided: set[bytes] = set()
        self._trouble = ""
        self._links: tuple[Link, ...] = ()
        self._free: asyncio.LifoQueue[Link] = asyncio.LifoQueue()
        self._doubts: OrderedDict[bytes, None] = OrderedDict()
        self._consumption: Consumption | None = None
        self._exchange = Exchange(config, self._count)

    # the four verbs

    async def start(self) -> None:
        """Take up the subscription. The receiver may be away: messages wait for it."""
        config = self._config
        host, port = split_address(config.connect)
        target = Target(
            host=host,
            port=port,
            tls=client_context(config.tls, name=f"adapter {config.name}") if config.tls else None,
            server_name=config.tls.server_name if config.tls else None,
            connect_timeout_s=config.connect_timeout_s,
            reopen_after_idle_s=config.reopen_after_idle_s,
            max_answer_bytes=config.max_answer_bytes,
        )
        monotonic_s = self._runtime.clock.monotonic_s
        self._links = tuple(
            Link(target, self._count, monotonic_s, config.ack_timeout_s)
            for _ in range(config.lanes)
        )
        for link in self._links:
            self._free.put_nowait(link)
        spec = ConsumeSpec(
            name=config.name,
            patterns=config.subscribe,
            lanes=config.lanes,
            retry=config.retry.policy(),
            accept=self._accepts if self._filter else None,
            deliver_new=config.deliver_new,
        )
        self._consumption = await self._runtime.events.consume(spec, self.deliver)

    def health(self) -> Health:
        """Say whether the receiver takes messages, and how many wait."""
        if self._consumption is None:
            return Health(condition=Condition.STOPPED, detail="not started")
        waiting = self._consumption.stats().pending
        tail = f"; {waiting} messages wait" if waiting else ""
        where = self._config.connect
        away = [
            link for link in self._links if link.state not in (LinkState.CONNECTED, LinkState.NEVER)
        ]
        if away:
            reason = f": {away[0].reason}" if away[0].reason else ""
            return Health(
                condition=Condition.DEGRADED,
                detail=f"{where}: {away[0].state.value}{reason}{tail}",
            )
        if self._trouble:
            return Health(condition=Condition.DEGRADED, detail=f"{where}: {self._trouble}{tail}")
        open_links = sum(link.is_open for link in self._links)
        detail = f"{where}: {open_links} of {len(self._links)} connections open{tail}"
        return Health(condition=Condition.HEALTHY, detail=detail)

    async def drain(self, *, timeout_s: float) -> None:
        """Finish the messages under way; the rest stays in its stream."""
        if self._consumption is not None:
            await self._consumption.drain(timeout_s=timeout_s)

    async def stop(self) -> None:
        """Close everything; a message without an acknowledgement is sent again after the next start."""
        if self._consumption is not None:
            await self._consumption.stop()
            self._consumption = None
        for link in self._links:
            link.close()

    # one message

    async def deliver(self, event: ReceivedEvent) -> Receipt | None:
        """Send one message and wait for its acknowledgement: the handler of the subscription."""
        if event.message_id in self._undecided:
            self._undecided.discard(event.message_id)
            raise Rejected("the filter cannot read this message, so it may not be meant for here")
        if event.message_id in self._doubts:
            self._count("message_sent_again", "no_answer")
        async with self._link() as link:
            try:
                receipt = await self._exchange.run(link, event)
            except Unavailable:
                self._doubt(event.message_id)
                raise
            except MeshError as error:
                self._trouble = str(error)
                raise
        self._trouble = ""
        self._doubts.pop(event.message_id, None)
        self._count("message_delivered", receipt.outcome.name.lower())
        return receipt

    @contextlib.asynccontextmanager
    async def _link(self) -> AsyncIterator[Link]:
        link = await self._free.get()
        try:
            yield link
        except asyncio.CancelledError:
            link.close()  # an answer may still come: it must not meet another message
            raise
        finally:
            self._free.put_nowait(link)

    def _accepts(self, event: ReceivedEvent) -> bool:
        """Whether the filter lets an event through; one that it cannot read goes on, to become a dead letter."""
        try:
            return self._filter is None or self._filter(event.body)
        except Hl7Error as error:
            self._count("filter_undecided", error.code)
            self._undecided.add(event.message_id)
            return True

    def _doubt(self, message_id: bytes) -> None:
        self._doubts[message_id] = None
        while len(self._doubts) > _DOUBTS:
            self._doubts.popitem(last=False)

    def _count(self, name: str, reason: str) -> None:
        self._runtime.counters.add(name, who=self._config.name, reason=reason)


__all__ = ["MllpClient"]
