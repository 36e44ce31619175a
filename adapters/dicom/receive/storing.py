"""The storage service class (PS3.4 annex B): success is answered when an instance is durable, indexed and announced."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Final

from adapters.contract import AdapterRuntime
from adapters.dicom.association import Request
from adapters.dicom.config import DicomNodeConfig
from adapters.dicom.datasets import Header, Unparsable
from adapters.dicom.dimse.status import Status
from adapters.dicom.index.protocol import Added, Entry, Kept, Policy
from adapters.dicom.index.sqlite import SqliteIndex
from adapters.dicom.receive.announcing import Announcer
from adapters.dicom.receive.sink import InstanceSink
from bus.blobs.protocol import Blobs, Stored
from bus.telemetry.log import logger
from schemas.errors import MeshError

_log = logger(__name__)

KEPT_FIRST: Final = 0xB000
"""A warning: the instance was there with other content, which stays (PS3.4 table B.2-1, coercion of data elements)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the sender is told."""

    status: int
    comment: str = ""
    """Free of patient data."""
    code: str = ""
    """Stable reason of what was not a success: counted and logged."""


_SUCCESS: Final = Verdict(Status.SUCCESS)
_CONFLICTS: Final = {
    Policy.KEEP_FIRST: Verdict(KEPT_FIRST, "instance exists with other content; kept", "conflict"),
    Policy.REPLACE: Verdict(Status.SUCCESS, code="conflict"),
    Policy.REJECT: Verdict(
        Status.DUPLICATE_INSTANCE, "instance exists with other content", "conflict"
    ),
}


class Storing:
    """Receives instances for one node."""

    def __init__(
        self, config: DicomNodeConfig, runtime: AdapterRuntime, blobs: Blobs, index: SqliteIndex
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._blobs = blobs
        self._index = index
        self._announcer = Announcer(config.name, runtime.site, runtime.site_key)
        self.trouble = ""
        """Why the last instance had to be refused for lack of something of ours; empty once one was taken."""

    def sink(self, request: Request) -> InstanceSink:
        """Where the data set of a C-STORE goes."""
        return InstanceSink(
            self._blobs.begin(),
            request.context.transfer_syntax,
            max_bytes=self._config.max_object_bytes,
        )

    async def perform(self, request: Request, sink: InstanceSink) -> None:
        """Work a C-STORE whose data set has come."""
        try:
            verdict = await self._store(request, sink)
            self.trouble = ""
        except MeshError as error:
            self.trouble = str(error)
            verdict = Verdict(Status.OUT_OF_RESOURCES, "try again later", error.code)
        self._report(request, verdict)
        answer = request.answer(verdict.status)
        await request.respond(replace(answer, error_comment=verdict.comment or None))

    async def _store(self, request: Request, sink: InstanceSink) -> Verdict:
        header, stored = await asyncio.gather(
            asyncio.to_thread(_checked, request, sink), sink.finish()
        )
        kept = self._kept(request, stored)
        if isinstance(header, Verdict):
            await self._index.quarantine(kept, header.code)
            await self._runtime.events.publish(self._announcer.quarantined(kept, header.code))
            return header
        entry = Entry(header, kept)
        policy = self._config.on_conflict
        addition = await self._index.add(entry, policy)
        events = self._runtime.events
        if addition.outcome is Added.CONFLICT and addition.before is not None:
            await events.publish(self._announcer.conflict(entry, addition.before, policy))
        if addition.outcome is not Added.CONFLICT or policy is Policy.REPLACE:
            # the same instance again is announced again, under the same message id: its sender may have had no answer
            await events.publish(self._announcer.stored(entry))
        return _CONFLICTS[policy] if addition.outcome is Added.CONFLICT else _SUCCESS

    def _kept(self, request: Request, stored: Stored) -> Kept:
        peer = request.association.peer
        return Kept(
            transfer_syntax=request.context.transfer_syntax,
            blob=stored.id,
            size=stored.size,
            calling=peer.title,
            called=peer.own_title,
            received_ms=self._runtime.clock.now_ms(),
        )

    def _report(self, request: Request, verdict: Verdict) -> None:
        name, peer = self._config.name, request.association.peer
        reason = verdict.code or "success"
        self._runtime.counters.add("dicom_stored", who=name, reason=reason)
        if verdict.code:
            _log.warning(
                "dicom_store_refused" if verdict.comment else "dicom_store_conflict",
                adapter=name,
                reason=reason,
                status=f"{verdict.status:04X}",
                peer=peer.address,
            )


def _checked(request: Request, sink: InstanceSink) -> Header | Verdict:
    """The header, if it is that of the announced instance. Blocks for up to some milliseconds."""
    try:
        header = sink.header()
    except Unparsable:
        return Verdict(Status.CANNOT_UNDERSTAND, "no data set with its identity", "unparsable")
    command = request.command
    if {header.sop_class, command.affected_class} != {request.context.abstract_syntax}:
        return Verdict(Status.DATA_SET_DOES_NOT_MATCH_CLASS, "SOP class differs", "class_mismatch")
    if header.sop_instance != command.affected_instance:
        return Verdict(
            Status.DATA_SET_DOES_NOT_MATCH_CLASS, "SOP instance differs", "instance_mismatch"
        )
    return header


__all__ = ["KEPT_FIRST", "Storing", "Verdict"]
