"""The events of the receiver (schemas/proto/medmesh/imaging/v1)."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from typing import Final

from google.protobuf.message import Message

from adapters.dicom.datasets import Header
from adapters.dicom.index.protocol import Entry, Kept, Policy
from bus.events.protocol import NewEvent
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from schemas.generated.medmesh.imaging.v1 import imaging_pb2 as pb
from schemas.subjects import Domain, SiteId, event, partition_for

STORED: Final = "instance-stored"
CONFLICT: Final = "instance-conflict"
QUARANTINED: Final = "quarantined"
EVENTS: Final = (STORED, CONFLICT, QUARANTINED)

_POLICIES: Final = {
    Policy.KEEP_FIRST: pb.CONFLICT_POLICY_KEEP_FIRST,
    Policy.REPLACE: pb.CONFLICT_POLICY_REPLACE,
    Policy.REJECT: pb.CONFLICT_POLICY_REJECT,
}


class Announcer:
    """Makes the events of one node. The same instance with the same content has the same message id."""

    def __init__(self, node: str, site: SiteId, site_key: bytes) -> None:
        self._node = node
        self._site = site
        self._site_key = site_key

    def stored(self, entry: Entry) -> NewEvent:
        """The instance is durable here."""
        body = pb.InstanceStored(
            instance=_instance(entry.header),
            data_set=self._data_set(entry.kept),
            origin=_origin(entry.kept),
        )
        return self._of_instance(STORED, entry, body)

    def conflict(self, entry: Entry, before: Kept, policy: Policy) -> NewEvent:
        """The instance came again with other content than `before`."""
        is_replaced = policy is Policy.REPLACE
        body = pb.InstanceConflict(
            instance=_instance(entry.header),
            kept=self._data_set(entry.kept if is_replaced else before),
            other=self._data_set(before if is_replaced else entry.kept),
            policy=_POLICIES[policy],
            origin=_origin(entry.kept),
        )
        return self._of_instance(CONFLICT, entry, body)

    def quarantined(self, kept: Kept, reason: str) -> NewEvent:
        """The bytes are kept and belong nowhere."""
        body = pb.Quarantined(data_set=self._data_set(kept), reason=reason, origin=_origin(kept))
        return self._event(QUARANTINED, kept.blob, kept.blob, body, kept)

    def _data_set(self, kept: Kept) -> pb.DataSet:
        return pb.DataSet(
            node=self._node,
            sha256=bytes.fromhex(kept.blob),
            size=kept.size,
            transfer_syntax=kept.transfer_syntax,
        )

    def _of_instance(
        self, name: str, entry: Entry, body: pb.InstanceStored | pb.InstanceConflict
    ) -> NewEvent:
        header = entry.header
        patient = header.text("PatientID")
        whose = f"{header.text('IssuerOfPatientID')}\n{patient}" if patient else header.study
        what = f"{header.sop_instance} {entry.kept.blob}"
        return replace(self._event(name, whose, what, body, entry.kept), index=_index(header))

    def _event(self, name: str, whose: str, what: str, body: Message, kept: Kept) -> NewEvent:
        """`whose` decides on the partition, `what` on the message id."""
        partition = partition_for(self._site_key, whose.encode())
        said = f"dicom {name} {what}".encode()
        return NewEvent(
            subject=event(self._site, Domain.IMAGING, name, partition),
            type=f"dicom/{name}",
            body=body.SerializeToString(),
            message_id=hmac.digest(self._site_key, said, hashlib.sha256)[:16],
            received_ms=kept.received_ms,
        )


def _origin(kept: Kept) -> pb.Origin:
    return pb.Origin(calling=kept.calling, called=kept.called)


def _instance(header: Header) -> pb.Instance:
    number = header.text("InstanceNumber")
    return pb.Instance(
        sop_class=header.sop_class,
        sop_instance=header.sop_instance,
        series=header.series,
        study=header.study,
        modality=header.text("Modality"),
        patient_id=header.text("PatientID"),
        patient_id_issuer=header.text("IssuerOfPatientID"),
        accession=header.text("AccessionNumber"),
        number=int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0,
    )


def _index(header: Header) -> content_pb.Index:
    index = content_pb.Index()
    if header.text("PatientID"):
        index.patient.add(system=header.text("IssuerOfPatientID"), value=header.text("PatientID"))
    if header.text("AccessionNumber"):
        index.order.add(value=header.text("AccessionNumber"))
    return index


__all__ = ["CONFLICT", "EVENTS", "QUARANTINED", "STORED", "Announcer"]
