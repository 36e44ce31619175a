"""Raw HL7 v2 events get FHIR events beside them, in each patient's order."""

from __future__ import annotations

from collections import Counter
from typing import Final
from zoneinfo import ZoneInfo

from adapters.contract import AdapterRuntime, Condition, Health
from adapters.hl7v2.codec import Hl7Error, Message
from adapters.hl7v2.convert import CONTENT_TYPE
from adapters.hl7v2.mapping import (
    MapContext,
    Mapped,
    Mapper,
    Output,
    Resource,
    Severity,
    compile_mapper,
    load_tables,
    to_json,
)
from adapters.hl7v2.views.config import TestMessages, ToFhirConfig, ViewForm
from adapters.hl7v2.views.ledger import BUCKET as LEDGER_BUCKET
from adapters.hl7v2.views.ledger import Ledger
from adapters.hl7v2.views.naming import event_name
from adapters.hl7v2.views.review import review, without
from adapters.hl7v2.views.shelf import BUCKET as SHELF_BUCKET
from adapters.hl7v2.views.shelf import HISTORY, Shelf
from adapters.hl7v2.views.tables import LiveTables
from bus.envelope.types import NobodyMayRead
from bus.events.protocol import (
    ConsumeSpec,
    Consumption,
    NewEvent,
    Outcome,
    Receipt,
    ReceivedEvent,
    Rejected,
)
from schemas import subjects
from schemas.keyed import keyed_hash
from schemas.registry.errors import SchemaRefused
from schemas.subjects import Domain

FHIR_JSON: Final = "application/fhir+json"
OUTDATED: Final = (Domain.RESULT, "outdated")
"""Where reports go of which something newer was published before: kept, and out of the way."""
_OF_THE_HEADER: Final = frozenset(
    {"Device", "Endpoint", "MessageHeader", "Organization", "Practitioner", "Provenance"}
)
"""What the segments that every message has give by themselves."""
_NOT_REAL: Final = frozenset({"T", "D"})
_TEST_LABEL: Final = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason",
    "code": "HTEST",
}
_ID_BYTES: Final = 16
_FORMS: Final = {ViewForm.MESSAGE: Output.MESSAGE, ViewForm.TRANSACTION: Output.TRANSACTION}


class ToFhir:
    """`hl7v2.to-fhir`. The same raw event under the same tables always gives the same events, by their ids."""

    def __init__(self, config: ToFhirConfig, runtime: AdapterRuntime) -> None:
        self._config = config
        self._runtime = runtime
        self._hash = keyed_hash(runtime.site_key)
        self._context = MapContext(
            tenant=config.tenant or str(runtime.site),
            output=_FORMS[config.form],
            zone=ZoneInfo(config.zone) if config.zone else None,
            parameters=config.parameters,
        )
        self._tables: LiveTables[Mapper] | None = None
        self._ledger: Ledger | None = None
        self._consumption: Consumption | None = None

    # the four verbs

    async def start(self) -> None:
        """Load the tables and take up the subscription. Raises `MeshError`."""
        config, runtime = self._config, self._runtime
        shelf = Shelf(await runtime.records(SHELF_BUCKET, history=HISTORY), runtime.site_key)
        self._ledger = Ledger(await runtime.records(LEDGER_BUCKET), runtime.site_key)
        self._tables = LiveTables(
            config.name,
            ground=("std", *config.layers),
            compiles=lambda layers: compile_mapper(load_tables(layers)),
            folder=config.tables,
            shelf=shelf,
            count=self._count,
        )
        await self._tables.start()
        spec = ConsumeSpec(
            name=config.name,
            patterns=config.subscribe,
            lanes=config.lanes,
            retry=config.retry.policy(),
            deliver_new=config.deliver_new,
            shared=config.shared,
        )
        self._consumption = await runtime.events.consume(spec, self.view)

    def health(self) -> Health:
        """Say whether messages are mapped, and by which tables."""
        if self._consumption is None or self._tables is None:
            return Health(condition=Condition.STOPPED, detail="not started")
        waiting = self._consumption.stats().pending
        tail = f"; {waiting} messages wait" if waiting else ""
        version = self._tables.compiled.version[:12]
        if self._tables.trouble:
            return Health(
                condition=Condition.DEGRADED,
                detail=f"maps by the older tables {version}: {self._tables.trouble}{tail}",
            )
        return Health(condition=Condition.HEALTHY, detail=f"maps by the tables {version}{tail}")

    async def drain(self, *, timeout_s: float) -> None:
        """Finish the messages in hand; the rest stays in its stream."""
        if self._consumption is not None:
            await self._consumption.drain(timeout_s=timeout_s)

    async def stop(self) -> None:
        """Close everything."""
        if self._consumption is not None:
            await self._consumption.stop()
            self._consumption = None
        if self._tables is not None:
            await self._tables.stop()
            self._tables = None

    # one message

    async def view(self, event: ReceivedEvent) -> Receipt | None:
        """Map one raw event and publish its view: the handler of the subscription.

        Raises `Rejected` for what cannot be mapped: it becomes a dead letter, and the raw event stays as it is.
        """
        if not event.type.startswith(CONTENT_TYPE + "/"):
            self._count("message_skipped", "not_hl7v2")
            return None
        if self._tables is None or self._ledger is None:
            raise RuntimeError("the view was not started")
        mapper = self._tables.compiled
        message, mapped = self._map(event.body, mapper)
        bundle = mapped.bundle
        if bundle is None:
            raise Rejected(f"nothing could be mapped: {_codes(mapped)}")
        kinds = {str(resource.get("resourceType")) for resource in mapped.resources}
        if not mapped.structure and kinds <= _OF_THE_HEADER:
            raise Rejected("nothing could be mapped: the type of the message is unsupported")
        stamp = bundle.get("timestamp")
        known = await review(
            mapped.resources, timestamp=stamp if isinstance(stamp, str) else "", ledger=self._ledger
        )
        self._count_all(mapped)
        self._label(mapped, message)
        if known.retired:
            self._count("patient_already_merged", "")
        if known.outdated:
            self._count("report_outdated", "")
            await self._publish(event, mapper, bundle, OUTDATED)
            bundle = without(bundle, known.outdated)
        await self._publish(event, mapper, bundle, event_name(message.header.message_type))
        self._count("message_mapped", "")
        return Receipt(
            message_id=event.message_id, consumer=self._config.name, outcome=Outcome.APPLIED
        )

    def _map(self, body: bytes, mapper: Mapper) -> tuple[Message, Mapped]:
        config = self._config
        try:
            message = Message.parse(body, charset=config.charset, fallback=config.fallback_charsets)
        except Hl7Error as error:
            raise Rejected(f"no HL7 v2 message: {error.code}") from None
        processing_id = message.header.raw(11).decode("ascii", "replace")[:1]
        if config.test_messages is TestMessages.REJECT and processing_id in _NOT_REAL:
            raise Rejected("a training or debugging message (MSH-11), and test_messages = reject")
        return message, mapper.map(message, self._context)

    def _label(self, mapped: Mapped, message: Message) -> None:
        if self._config.test_messages is not TestMessages.LABEL:
            return
        if message.header.raw(11).decode("ascii", "replace")[:1] not in _NOT_REAL:
            return
        self._count("test_message", "")
        for resource in mapped.resources:
            _tag(resource)

    async def _publish(
        self, event: ReceivedEvent, mapper: Mapper, bundle: Resource, name: tuple[Domain, str]
    ) -> None:
        domain, what = name
        identity = self._hash.digest(
            b"hl7v2-view.", event.message_id, mapper.version.encode(), what.encode()
        )[:_ID_BYTES]
        view = NewEvent(
            subject=subjects.event(self._runtime.site, domain, what, event.partition),
            type=FHIR_JSON,
            body=to_json(bundle),
            message_id=identity,
            index=event.index,
            received_ms=event.received_ms,
            traceparent=event.traceparent,
        )
        try:
            await self._runtime.events.publish(view)
        except NobodyMayRead:
            # No service subscribes to it. To try again would hold up the patients of this lane for a minute, and end
            # in a dead letter that nobody misses; `medmesh map replay` makes the view once somebody subscribes.
            self._count("view_unread", f"{domain}.{what}")
        except SchemaRefused as refused:
            raise Rejected(
                f"the view does not fit what its subject is bound to: {refused}"
            ) from None

    def _count_all(self, mapped: Mapped) -> None:
        for (severity, code), count in Counter(
            (issue.severity, issue.code) for issue in mapped.issues
        ).items():
            if severity is not Severity.INFORMATION:
                self._runtime.counters.add(
                    "mapping_issue", who=self._config.name, reason=code.value, count=count
                )

    def _count(self, name: str, reason: str) -> None:
        self._runtime.counters.add(name, who=self._config.name, reason=reason)


def _codes(mapped: Mapped) -> str:
    codes = Counter(issue.code.value for issue in mapped.issues if issue.severity is Severity.ERROR)
    return ", ".join(f"{code} ({count})" for code, count in codes.most_common()) or "no resource"


def _tag(resource: Resource) -> None:
    meta = resource.setdefault("meta", {})
    if not isinstance(meta, dict):
        return
    labels = meta.setdefault("security", [])
    if isinstance(labels, list) and _TEST_LABEL not in labels:
        labels.append(dict(_TEST_LABEL))


__all__ = ["FHIR_JSON", "OUTDATED", "ToFhir"]
