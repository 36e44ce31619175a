"""Records of instances: what is announced under a lease, and what is believed of it."""

from __future__ import annotations

import re
from typing import ClassVar, Final, Protocol, TypeAlias

from bus.envelope.types import Certificate, Refused
from bus.services.protocol import Instance, Offer
from schemas.errors import MeshError, SubjectError
from schemas.generated.medmesh.control.v1 import control_pb2 as pb
from schemas.subjects import token

PROTOCOL: Final = "medmesh/1"
"""Sealed requests on a subject of the instance's own."""
_MOST_ITEMS: Final = 256
_MOST_TEXT: Final = 512
_MOST_WEIGHT: Final = 10_000
_VERSION: Final = re.compile(r"(?:0|[1-9][0-9]{0,5})(?:\.[0-9A-Za-z.+-]{1,80})?\Z")
_SPIFFE_PARTS: Final = 5  # spiffe: "" mesh site service


class RecordRefused(MeshError):
    """A record that is not what its key or its signer may say. `reason` is a stable code."""

    code: ClassVar[str] = "record_refused"

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"record refused ({reason}): {detail}")
        self.reason = reason


SignedRecord: TypeAlias = tuple[pb.InstanceRecord, Certificate]
"""A record, and the certificate whose signature it bears. What it says of itself is not believed yet."""


class RecordSeals(Protocol):
    """Signs an instance's own record, and verifies those of others."""

    @property
    def signer(self) -> bytes:
        """Id of the certificate under which `seal` signs now."""
        ...

    def seal(self, record: pb.InstanceRecord) -> bytes:
        """The record, with `signer` filled in, as a serialised SignedObject of kind "instance"."""
        ...

    def open(self, raw: bytes, *, max_bytes: int) -> SignedRecord:
        """Verify the signature, by a certificate that counts now. Raises `Refused`."""
        ...

    async def fetch(self, refusal: Refused, raw: bytes) -> bool:
        """Fetch the certificate that was missing, so that `open` can be tried again; False when there is none.

        Raises `MeshError` when it cannot be asked for now.
        """
        ...


def record_of(
    offer: Offer,
    *,
    site: str,
    instance: str,
    connection: str,
    started_ms: int,
    protocols: tuple[str, ...] = (PROTOCOL,),
) -> pb.InstanceRecord:
    """What an instance announces of itself. Raises `RecordRefused` for what nobody would believe."""
    record = pb.InstanceRecord(
        service=offer.name,
        instance=instance,
        version=offer.version,
        site=site,
        zone=offer.zone,
        methods=[method.name for method in offer.methods],
        protocols=protocols,
        connection=connection,
        started_ms=started_ms,
        weight=offer.weight,
        metadata=dict(offer.metadata),
    )
    _check_form(record)
    return record


def instance_of(signed: SignedRecord, *, key: tuple[str, str], site: str) -> Instance:
    """The instance that a verified record speaks of, if its signer may say so. Raises `RecordRefused`.

    The signer is an instance of that service at that site, and the id is that of its certificate, or begins with it
    and a dash: so no instance can speak for another one.
    """
    record, signer = signed
    if (record.service, record.instance) != key:
        raise RecordRefused("wrong_key", "it speaks of another instance than its key")
    if record.site != site:
        raise RecordRefused("wrong_site", "it is of another site")
    parts = signer.service.split("/")
    if len(parts) != _SPIFFE_PARTS or (parts[3], parts[4]) != (record.site, record.service):
        raise RecordRefused("wrong_signer", f"{signer.service} signed for another service or site")
    if record.instance.partition("-")[0] != signer.instance:
        raise RecordRefused("wrong_signer", f"{signer.service} signed for another instance")
    _check_form(record)
    return Instance(
        service=record.service,
        id=record.instance,
        version=record.version,
        site=record.site,
        zone=record.zone,
        methods=tuple(record.methods),
        protocols=tuple(record.protocols),
        connection=record.connection,
        started_ms=record.started_ms,
        weight=record.weight,
        metadata=dict(record.metadata),
    )


def _check_form(record: pb.InstanceRecord) -> None:
    try:
        for name in (record.service, record.instance, record.site, *record.methods):
            token(name)
    except SubjectError as error:
        raise RecordRefused("malformed", str(error)) from None
    if not _VERSION.match(record.version):
        raise RecordRefused("malformed", "its version is not of the form 1.2.3")
    texts = (record.zone, record.connection, *record.protocols)
    texts += tuple(text for item in record.metadata.items() for text in item)
    if any(len(text) > _MOST_TEXT for text in texts):
        raise RecordRefused("malformed", f"a text in it is longer than {_MOST_TEXT} characters")
    if max(len(record.methods), len(record.protocols), len(record.metadata)) > _MOST_ITEMS:
        raise RecordRefused("malformed", f"it lists more than {_MOST_ITEMS} of something")
    if record.weight > _MOST_WEIGHT:
        raise RecordRefused("malformed", f"its weight is above {_MOST_WEIGHT}")


__all__ = ["PROTOCOL", "RecordRefused", "RecordSeals", "SignedRecord", "instance_of", "record_of"]
