"""FHIR events get HL7 v2 messages beside them, for systems that speak nothing else."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Final

from adapters.contract import AdapterRuntime, Condition, Health
from adapters.hl7v2.codec import peek
from adapters.hl7v2.codec.charset import ASCII, charset_named
from adapters.hl7v2.convert import CONTENT_TYPE
from adapters.hl7v2.mapping import Severity
from adapters.hl7v2.reverse import (
    WriteContext,
    Writer,
    Written,
    compile_writer,
    load_reverse_tables,
    read_fhir_json,
)
from adapters.hl7v2.reverse.loading import STANDARD
from adapters.hl7v2.views.config import FromFhirConfig
from adapters.hl7v2.views.shelf import BUCKET, HISTORY, Shelf
from adapters.hl7v2.views.tables import LiveTables
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
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from schemas.keyed import keyed_hash
from schemas.subjects import Domain

FHIR_JSON: Final = frozenset({"application/fhir+json", "application/json"})
_ID_BYTES: Final = 16
_LARGE_BYTES: Final = 64 * 1024
_CONTROL_ID_DIGITS: Final = 20
"""What MSH-10 holds (HL7 v2.5.1 section 2.15.9.10)."""


class FromFhir:
    """`hl7v2.from-fhir`. The same event under the same tables and settings always gives the same bytes and id."""

    def __init__(self, config: FromFhirConfig, runtime: AdapterRuntime) -> None:
        self._config = config
        self._runtime = runtime
        self._hash = keyed_hash(runtime.site_key)
        self._tables: LiveTables[Writer] | None = None
        self._consumption: Consumption | None = None

    # the four verbs

    async def start(self) -> None:
        """Load the tables and take up the subscription. Raises `MeshError`."""
        config, runtime = self._config, self._runtime
        self._context(0, b"")  # a wrong charset or version is found now
        self._tables = LiveTables(
            config.name,
            ground=(STANDARD, *config.layers),
            compiles=lambda layers: compile_writer(load_reverse_tables(layers)),
            folder=config.tables,
            shelf=Shelf(await runtime.records(BUCKET, history=HISTORY), runtime.site_key),
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
        """Say whether messages are written, and by which tables."""
        if self._consumption is None or self._tables is None:
            return Health(condition=Condition.STOPPED, detail="not started")
        waiting = self._consumption.stats().pending
        tail = f"; {waiting} events wait" if waiting else ""
        version = self._tables.compiled.version[:12]
        if self._tables.trouble:
            return Health(
                condition=Condition.DEGRADED,
                detail=f"writes by the older tables {version}: {self._tables.trouble}{tail}",
            )
        return Health(condition=Condition.HEALTHY, detail=f"writes by the tables {version}{tail}")

    async def drain(self, *, timeout_s: float) -> None:
        """Finish the events in hand; the rest stays in its stream."""
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

    # one event

    async def view(self, event: ReceivedEvent) -> Receipt | None:
        """Write the message of one event and publish it: the handler of the subscription.

        Raises `Rejected` for what cannot be written: it becomes a dead letter, and the event stays as it is.
        """
        if event.type.partition(";")[0].strip() not in FHIR_JSON:
            self._count("message_skipped", "not_fhir_json")
            return None
        if self._tables is None:
            raise RuntimeError("the view was not started")
        writer = self._tables.compiled
        identity = self._identity(event, writer.version)
        if len(event.body) > _LARGE_BYTES:  # others' deadlines go on while it is written
            written = await asyncio.to_thread(self._written, event, writer, identity)
        else:
            written = self._written(event, writer, identity)
        self._count_all(written)
        if written.message is None:
            raise Rejected(f"no message could be written: {_codes(written)}")
        await self._publish(event, written.message, written, identity)
        self._count("message_mapped", "")
        return Receipt(
            message_id=event.message_id, consumer=self._config.name, outcome=Outcome.APPLIED
        )

    def _written(self, event: ReceivedEvent, writer: Writer, identity: bytes) -> Written:
        try:
            resource = read_fhir_json(event.body)
        except ValueError as error:
            raise Rejected(f"no FHIR: {error}") from None
        return writer.write(resource, self._context(event.received_ms, identity))

    def _count_all(self, written: Written) -> None:
        for (severity, code), count in Counter(
            (issue.severity, issue.code) for issue in written.issues
        ).items():
            if severity is not Severity.INFORMATION:
                self._runtime.counters.add(
                    "mapping_issue", who=self._config.name, reason=code.value, count=count
                )

    def _identity(self, event: ReceivedEvent, version: str) -> bytes:
        name = self._config.name.encode()
        return self._hash.digest(b"v2-of-fhir.", name, event.message_id, version.encode())[
            :_ID_BYTES
        ]

    def _context(self, received_ms: int, identity: bytes) -> WriteContext:
        config = self._config
        return WriteContext(
            time=datetime.fromtimestamp(received_ms // 1000, tz=UTC),
            control_id=identity.hex()[:_CONTROL_ID_DIGITS].upper(),
            version=config.version,
            charset=config.charset,
            parameters=config.settings(),
        )

    async def _publish(
        self, event: ReceivedEvent, message: bytes, written: Written, identity: bytes
    ) -> None:
        subject = subjects.event(
            self._runtime.site, Domain.RAW, self._config.event, event.partition
        )
        await self._runtime.events.publish(
            NewEvent(
                subject=subject,
                type=f"{CONTENT_TYPE}/{'^'.join(written.message_type.split('^')[:2])}",
                body=message,
                message_id=identity,
                index=_index(event, message),
                received_ms=event.received_ms,
                traceparent=event.traceparent,
            )
        )

    def _count(self, name: str, reason: str) -> None:
        self._runtime.counters.add(name, who=self._config.name, reason=reason)


def _index(event: ReceivedEvent, message: bytes) -> content_pb.Index:
    """The patients and codes of the event, and what the message says of itself."""
    header = peek(message)
    index = content_pb.Index()
    if event.index is not None:
        index.CopyFrom(event.index)
    index.control_id = header.control_id
    found = charset_named(header.charset_names[0]) if header.charset_names else ASCII
    index.charset = found.codec if found else ""
    return index


def _codes(written: Written) -> str:
    """Which issues, and at which field or step: never a value."""
    errors = [one for one in written.issues if one.severity is Severity.ERROR]
    return ", ".join(f"{one.code.value} {one.where}".rstrip() for one in errors[:10]) or "nothing"


__all__ = ["FHIR_JSON", "FromFhir"]
