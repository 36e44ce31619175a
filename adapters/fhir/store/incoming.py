"""Applies FHIR events: views of messages, and resources. Each has its effect once, in its patient's order."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from adapters.fhir.convert import CONTENT_TYPE
from adapters.fhir.store.changing import Order
from adapters.fhir.store.checking import parse_object
from adapters.fhir.store.engine import Unit, Work
from adapters.fhir.store.holdings import Store
from adapters.fhir.store.permits import Permit
from adapters.fhir.store.refusals import Refusal, invalid
from adapters.fhir.store.steps import Step, Transaction, read_transaction
from adapters.fhir.store.transacting import Read, Transactor
from bus.events.protocol import Outcome, Receipt, ReceivedEvent, Rejected
from bus.transactions.inbox import Inbox
from bus.transactions.outbox import OutboxTransaction

_BUNDLE: Final = "Bundle"
_NOT_APPLIED: Final = frozenset({"message", "batch", "history", "searchset"})
_SHOWN: Final = 3
_FORGET_EVERY: Final = 50_000
"""Events between two looks for records of the inbox that nothing can need any more."""


class Incoming:
    """The handler of the store's subscription."""

    def __init__(self, store: Store, *, name: str, inbox: Inbox) -> None:
        self._store = store
        self._name = name
        self._permit = Permit(store.parameters)
        self._transactor = Transactor(changer=store.changer, look=_no_look)
        self._inbox = inbox
        self._once = inbox.handler(name, self._apply)
        self._until_forgetting = _FORGET_EVERY

    async def handle(self, event: ReceivedEvent) -> Receipt | None:
        """Take one event. Raises `Rejected` for one that cannot be applied: it becomes a dead letter."""
        receipt = await self._once(event)
        self._until_forgetting -= 1
        if self._until_forgetting <= 0:
            self._until_forgetting = _FORGET_EVERY
            await self._inbox.forget()
        return receipt

    async def _apply(self, event: ReceivedEvent, transaction: OutboxTransaction) -> Receipt:
        if event.type.partition(";")[0].strip() != CONTENT_TYPE:
            self._store.count("event_skipped", "not_fhir")
            return self._receipt(event, "not_fhir")
        try:
            work = self._work(event.body)
            await self._store.engine.within(transaction, work)
        except Refusal as refusal:
            raise Rejected(_reason(refusal)) from None
        self._store.count("event_applied", "")
        return self._receipt(event, "")

    def _work(self, body: bytes) -> Work[None]:
        """What an event asks for, judged as far as that needs no database. Raises `Refusal`."""
        if len(body) > self._store.limits.body_bytes:
            raise Refusal(
                413, "too-long", f"at most {self._store.limits.body_bytes} bytes are applied"
            )
        resource = parse_object(body)
        if resource.get("resourceType") == _BUNDLE and resource.get("type") in _NOT_APPLIED:
            raise invalid(
                'only Bundles of type transaction are applied: set form = "transaction" at hl7v2.to-fhir'
            )
        if resource.get("resourceType") == _BUNDLE and resource.get("type") == "transaction":
            return self._transaction(body)
        return self._one(body)

    def _transaction(self, body: bytes) -> Work[None]:
        limit = self._store.limits.max_entries

        async def work(unit: Unit) -> None:
            transaction = read_transaction(
                body, permit=self._permit, base="", max_entries=limit, is_view=True
            )
            await self._transactor.run(unit, self._own_part(transaction))

        return work

    def _own_part(self, transaction: Transaction) -> Transaction:
        """Without what the store does not own: a view holds all that its message says."""
        own = [one for one in transaction.steps if one.resource_type in self._store.types]
        foreign = [one for one in transaction.steps if one.resource_type not in self._store.types]
        return replace(transaction, steps=own, foreign=tuple(foreign))

    def _one(self, body: bytes) -> Work[None]:
        prepared = self._store.prepare(body, "", "")
        order = Order(
            resource_type=prepared.resource_type,
            id=prepared.checked.id,
            prepared=prepared,
            permit=self._permit,
        )
        changer = self._store.changer

        async def work(unit: Unit) -> None:
            await (changer.update(unit, order) if order.id else changer.create(unit, order))

        return work

    def _receipt(self, event: ReceivedEvent, reason: str) -> Receipt:
        return Receipt(
            message_id=event.message_id, consumer=self._name, outcome=Outcome.APPLIED, reason=reason
        )


def _reason(refusal: Refusal) -> str:
    """Codes, texts of our own and places: no content."""
    shown = [
        f"{one.code} at {one.expression}: {one.text}"
        if one.expression
        else f"{one.code}: {one.text}"
        for one in refusal.issues[:_SHOWN]
    ]
    return "; ".join(shown)


async def _no_look(_unit: Unit, _step: Step) -> Read:
    return Read(204, b"")


__all__ = ["Incoming"]
