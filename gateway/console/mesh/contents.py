"""Opens stored events for the console, as far as the configuration and the gateway's certificate allow."""

from __future__ import annotations

from bus.envelope.types import Envelope, Reason, Refused
from bus.events.content import UnreadableContent, body_of
from bus.events.items import Tries
from bus.events.opening import EnvelopeReader, NotNow
from bus.events.streams import event_stream
from bus.transport.protocol import Delivery, EventStore
from gateway.console.masking import Masked, mask, reveal
from gateway.console.sources import ContentClosed
from schemas.subjects import SiteId, matches


class MeshContents:
    """`gateway.console.sources.Contents`."""

    def __init__(
        self, store: EventStore, site: SiteId, inspector: EnvelopeReader, allowed: tuple[str, ...]
    ) -> None:
        self._store = store
        self._stream = event_stream(site)
        self._inspector = inspector
        self._allowed = allowed

    async def masked(self, subject: str, seq: int) -> Masked:
        """See `Contents.masked`."""
        content_type, body = await self._body(subject, seq)
        return mask(content_type, body)

    async def revealed(self, subject: str, seq: int) -> Masked:
        """See `Contents.revealed`."""
        content_type, body = await self._body(subject, seq)
        return reveal(content_type, body)

    async def _body(self, subject: str, seq: int) -> tuple[str, bytes]:
        if not self.may_open(subject):
            raise ContentClosed(
                "The configuration does not let this gateway open such events ([gateway.console] contents)."
            )
        delivery = await self._store.read(self._stream, seq)
        if delivery.subject != subject:
            raise ContentClosed(
                "Another message lies in its place by now: it is not kept any more."
            )
        opened = await self.open(delivery)
        try:
            return opened.content.type, body_of(opened.content)
        except UnreadableContent:
            raise ContentClosed("Its body cannot be decoded.") from None

    def may_open(self, subject: str) -> bool:
        """Whether the configuration lets the console open events of a subject."""
        return any(matches(one, subject) for one in self._allowed)

    async def open(self, delivery: Delivery) -> Envelope:
        """A stored event, opened and verified, its body restored. Raises `ContentClosed`."""
        tries = Tries()
        try:
            opened = await self._inspector.open(tries, delivery.subject, delivery.payload)
            if isinstance(opened, NotNow):
                raise ContentClosed(f"It cannot be opened at the moment ({opened.reason}).")
            waits = await self._inspector.restore(tries, opened)
        except Refused as refusal:
            raise ContentClosed(_why(refusal.reason)) from None
        except UnreadableContent:
            raise ContentClosed("Its body cannot be decoded.") from None
        if waits is not None:
            raise ContentClosed(f"It cannot be read at the moment ({waits.reason}).")
        return opened


def _why(reason: Reason) -> str:
    if reason in (Reason.NOT_A_RECIPIENT, Reason.KEY_PACKAGE_MISSING):
        return (
            "It was not sealed for this gateway: it was stored before the gateway was allowed to read such events, "
            "or its keys have ended."
        )
    return f"Its envelope is not believed ({reason.value})."


__all__ = ["MeshContents"]
