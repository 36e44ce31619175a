"""Answers interactions: a call in, an `Outcome` out; every refusal is one as well."""

from __future__ import annotations

import asyncio

from adapters.fhir.store.capabilities import capability_statement
from adapters.fhir.store.changing import Changed, Order, gone
from adapters.fhir.store.engine import Unit
from adapters.fhir.store.holdings import LARGE_BYTES, Store
from adapters.fhir.store.looking import Looking, readable
from adapters.fhir.store.permits import Permit, permit_of
from adapters.fhir.store.questions import read_question
from adapters.fhir.store.refusals import Issue, Refusal, invalid, not_found, operation_outcome
from adapters.fhir.store.repository import Prepared, Version
from adapters.fhir.store.steps import Transaction, read_transaction
from adapters.fhir.store.subsets import subset
from adapters.fhir.store.transacting import Transactor
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb


class Interactions:
    """Answers calls of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changer = store.changer
        self._looking = Looking(store)
        self._answer = {
            pb.KIND_READ: self._read,
            pb.KIND_VREAD: self._vread,
            pb.KIND_CREATE: self._create,
            pb.KIND_UPDATE: self._update,
            pb.KIND_PATCH: self._patch,
            pb.KIND_DELETE: self._delete,
            pb.KIND_HISTORY: self._looking.history,
            pb.KIND_SEARCH: self._looking.search,
            pb.KIND_TRANSACTION: self._transaction,
            pb.KIND_CAPABILITIES: self._capabilities,
            pb.KIND_VALIDATE: self._validate,
        }

    async def answer(self, asked: pb.Interaction) -> pb.Outcome:
        """The outcome of an interaction. Raises `Unavailable` and other errors that a caller may try again after."""
        try:
            self._check(asked)
            permit = permit_of(asked.requester, self._store.parameters)
            outcome = await self._answer[asked.kind](asked, permit)
        except Refusal as refusal:
            self._store.count("interaction_refused", str(refusal.status))
            return pb.Outcome(status=refusal.status, body=refusal.body)
        if len(outcome.body) > self._store.limits.answer_bytes:
            too_large = Refusal(
                400, "too-costly", "the answer is too large: ask for fewer entries (_count)"
            )
            return pb.Outcome(status=too_large.status, body=too_large.body)
        return outcome

    def _check(self, asked: pb.Interaction) -> None:
        store = self._store
        if asked.kind not in self._answer:
            raise Refusal(501, "not-supported", "the interaction is not supported here")
        if asked.release != store.release.value:
            raise Refusal(
                404,
                "not-supported",
                f"FHIR {store.release.value} is held here, and no other release",
            )
        if len(asked.body) > store.limits.body_bytes:
            raise Refusal(413, "too-long", f"at most {store.limits.body_bytes} bytes are taken")
        if asked.resource_type:
            store.check_type(asked.resource_type)

    # ── one resource

    async def _read(self, asked: pb.Interaction, permit: Permit) -> pb.Outcome:
        permit.check(asked.resource_type, "r")

        async def work(unit: Unit) -> Version:
            found = await self._store.repository.current(unit, asked.resource_type, asked.id)
            return await readable(unit, found, permit)

        version = await self._store.engine.read(work)
        return self._one(version, gone() if version.is_deleted else None, asked)

    async def _vread(self, asked: pb.Interaction, permit: Permit) -> pb.Outcome:
        permit.check(asked.resource_type, "r")
        if not (asked.version.isascii() and asked.version.isdigit() and len(asked.version) < 10):
            raise not_found("there is no such version")

        async def work(unit: Unit) -> Version:
            number = int(asked.version)
            found = await self._store.repository.version(
                unit, asked.resource_type, asked.id, number
            )
            version = await readable(unit, found, permit)
            if not self._store.may_show(permit, version):
                raise not_found()
            return version

        version = await self._store.engine.read(work)
        return self._one(version, gone() if version.is_deleted else None, asked)

    def _one(self, version: Version, refusal: Refusal | None, asked: pb.Interaction) -> pb.Outcome:
        outcome = _about(200 if refusal is None else refusal.status, version)
        if refusal is not None:
            outcome.body = refusal.body
            return outcome
        pairs = [(one.name, one.value) for one in asked.parameters]
        question = read_question(
            asked.resource_type,
            pairs,
            self._store.parameters,
            is_strict=False,
            usual_count=1,
            max_count=1,
        )
        outcome.body = subset(
            version.body, question.summary, question.elements, self._store.parameters
        )
        return outcome

    async def _create(self, asked: pb.Interaction, permit: Permit) -> pb.Outcome:
        order = await self._order(asked, permit)
        changed = await self._store.engine.write(lambda unit: self._changer.create(unit, order))
        return _changed(changed, asked, has_location=True)

    async def _update(self, asked: pb.Interaction, permit: Permit) -> pb.Outcome:
        order = await self._order(asked, permit)
        changed = await self._store.engine.write(lambda unit: self._changer.update(unit, order))
        return _changed(changed, asked, has_location=changed.status == 201)

    async def _patch(self, asked: pb.Interaction, permit: Permit) -> pb.Outcome:
        order = _order_of(asked, permit, None)
        changed = await self._store.engine.write(lambda unit: self._changer.patch(unit, order))
        return _changed(changed, asked, has_location=False)

    async def _delete(self, asked: pb.Interaction, permit: Permit) -> pb.Outcome:
        order = _order_of(asked, permit, None)
        changed = await self._store.engine.write(lambda unit: self._changer.delete(unit, order))
        return _about(changed.status, changed.version)

    async def _validate(self, asked: pb.Interaction, permit: Permit) -> pb.Outcome:
        permit.check(asked.resource_type, "r")
        await self._store.judged(asked.body, asked.resource_type, asked.base)
        fine = Issue(code="informational", severity="information", text="the structure is valid")
        return pb.Outcome(status=200, body=operation_outcome([fine]))

    async def _order(self, asked: pb.Interaction, permit: Permit) -> Order:
        return _order_of(
            asked, permit, await self._store.judged(asked.body, asked.resource_type, asked.base)
        )

    # ── many resources

    async def _transaction(self, asked: pb.Interaction, permit: Permit) -> pb.Outcome:
        store = self._store

        def read() -> Transaction:
            return read_transaction(
                asked.body,
                permit=permit,
                base=asked.base,
                max_entries=store.limits.max_entries,
                shows_resources=asked.prefer_return == pb.RETURN_REPRESENTATION,
            )

        transaction = await asyncio.to_thread(read) if len(asked.body) > LARGE_BYTES else read()
        for step in transaction.steps:
            store.check_type(step.resource_type)
        await store.validate(asked.body)
        transactor = Transactor(
            changer=self._changer,
            look=lambda unit, step: self._looking.look(unit, step, asked, permit),
        )
        body = await store.engine.write(lambda unit: transactor.run(unit, transaction))
        return pb.Outcome(status=200, body=body)

    async def _capabilities(self, asked: pb.Interaction, _permit: Permit) -> pb.Outcome:
        store = self._store
        body = capability_statement(
            store.parameters, store.types, base=asked.base, now_ms=store.clock.now_ms()
        )
        return pb.Outcome(status=200, body=body)


def _order_of(asked: pb.Interaction, permit: Permit, prepared: Prepared | None) -> Order:
    pairs = tuple((one.name, one.value) for one in asked.parameters)
    if asked.is_conditional and not pairs:
        raise invalid("the condition is empty", code="required")
    return Order(
        resource_type=asked.resource_type,
        id=asked.id,
        condition=pairs if asked.is_conditional else (),
        if_none_exist=tuple((one.name, one.value) for one in asked.if_none_exist),
        if_match=asked.if_match,
        if_none_match=asked.if_none_match,
        prepared=prepared,
        patch=asked.body if prepared is None else b"",
        patch_type=asked.body_type,
        permit=permit,
        base=asked.base,
    )


def _about(status: int, version: Version) -> pb.Outcome:
    return pb.Outcome(
        status=status,
        resource_type=version.resource_type,
        id=version.id,
        version=str(version.version),
        last_modified_ms=version.updated_ms,
    )


def _changed(changed: Changed, asked: pb.Interaction, *, has_location: bool) -> pb.Outcome:
    outcome = _about(changed.status, changed.version)
    outcome.has_location = has_location
    if asked.prefer_return == pb.RETURN_OUTCOME:
        done = Issue(code="informational", severity="information", text="the change was made")
        outcome.body = operation_outcome([done])
    elif asked.prefer_return != pb.RETURN_MINIMAL:
        outcome.body = changed.version.body
    return outcome


__all__ = ["Interactions"]
