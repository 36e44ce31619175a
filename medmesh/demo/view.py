"""The live view in the terminal: what flows, how fast, what waits. Never content."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bus.transport.protocol import Incoming, Subscription
from medmesh.watching import Totals, look
from schemas.subjects import events_of

if TYPE_CHECKING:
    from medmesh.demo.hospital import Hospital

_REFRESH_S = 0.5
_SUBJECTS_SHOWN = 12


class LiveView:
    """`async with LiveView(hospital)`: redrawn twice a second."""

    def __init__(self, hospital: Hospital) -> None:
        self._hospital = hospital
        self._totals = Totals(hospital.clock)
        self._live = Live(self._picture(), refresh_per_second=4, transient=False)
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> LiveView:
        connection = self._hospital.runtime.connection

        def seen(message: Incoming) -> None:
            self._totals.add(look(message, connection.trust.directory))

        pattern = events_of(self._hospital.runtime.configuration.site)
        self._subscription = await connection.transport.messenger.subscribe(pattern, seen)
        self._live.start()
        self._task = asyncio.create_task(self._redraw(), name="demo-view")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._live.update(self._picture())
        self._live.stop()
        if self._subscription is not None:
            await self._subscription.close()

    async def _redraw(self) -> None:
        while True:
            await asyncio.sleep(_REFRESH_S)
            self._live.update(self._picture())

    def _picture(self) -> Group:
        return Group(self._heading(), self._adapters(), self._subjects())

    def _heading(self) -> Text:
        sending = self._hospital.sending
        return Text(
            f"EMR sent {sending.sent}, acknowledged {sending.accepted}, refused {sending.rejected}, "
            f"p50 {sending.percentile_ms(0.5):.1f} ms, p99 {sending.percentile_ms(0.99):.1f} ms   "
            f"HIS received {self._hospital.received_in_all}"
        )

    def _adapters(self) -> Table:
        table = Table("adapter", "in/s", "out/s", "waiting", "gone in", "state", expand=True)
        if not self._hospital.is_open:
            return table
        for one in self._hospital.runtime.stats():
            left = (
                "-"
                if not one.totals.waiting
                else "?"
                if one.drained_in_s is None
                else f"{one.drained_in_s:.0f} s"
            )
            table.add_row(
                one.name,
                f"{one.accepted_per_s:.1f}",
                f"{one.delivered_per_s:.1f}",
                str(one.totals.waiting),
                left,
                f"{one.condition} {one.detail}",
            )
        return table

    def _subjects(self) -> Table:
        table = Table(
            "subject", "messages/s", "messages", "mean bytes", "sender", "odd", expand=True
        )
        busiest = sorted(self._totals.subjects.items(), key=lambda item: -item[1].messages)
        for name, totals in busiest[:_SUBJECTS_SHOWN]:
            table.add_row(
                name,
                f"{self._totals.rate(name):.1f}",
                str(totals.messages),
                str(totals.bytes // max(1, totals.messages)),
                totals.last_sender,
                str(totals.marked or ""),
            )
        return table


__all__ = ["LiveView"]
