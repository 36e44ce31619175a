"""How a new instance gets its service's KEM seed: another instance seals it to the newcomer's certified key.

The authority never holds it. KV `svckeys`, key `<service>.<generation>.<instance>`; the newcomer deletes it when taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import DecodeError

from bus.envelope.signed import open_object, sign_object
from bus.envelope.suites import NAMESPACE, KemKey, SigningKey, wrap
from bus.envelope.types import Certificate, CertificateId, Reason, Refused
from bus.trust.directory import CertificateDirectory
from bus.trust.generations import Generation
from bus.trust.objects import ID_BYTES, service_token
from bus.trust.root import parsed_object
from schemas.generated.medmesh.control.v1 import control_pb2 as pb

SHARE: Final = "SharedServiceKey"
MAX_SHARE_BYTES: Final = 8 * 1024


def share_key(certificate: Certificate, generation: int | str) -> str:
    """`<service>.<generation>.<instance>`: where the newcomer with this certificate looks."""
    return f"{service_token(certificate.service)}.{generation}.{certificate.instance}"


def _info(service: str, generation: int, recipient: bytes, sender: bytes) -> bytes:
    return (
        NAMESPACE
        + b"share\0"
        + recipient
        + sender
        + generation.to_bytes(4, "big")
        + service.encode()
    )


def seal_share(
    generation: Generation, *, to: Certificate, sender: Certificate, key: SigningKey, now_ms: int
) -> bytes:
    """Seal one generation to another instance of the same service; returns the serialised SignedObject."""
    if to.service != sender.service:
        raise ValueError("a service's key is shared between its own instances only")
    info = _info(to.service, generation.number, to.id, sender.id)
    body = pb.SharedServiceKey(
        service=to.service,
        generation=generation.number,
        recipient=to.id,
        sender=sender.id,
        sealed_seed=wrap(to.suite, to.seal_key, generation.key.seed, info),
        created_ms=now_ms,
    ).SerializeToString()
    return sign_object(SHARE, body, key)


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenShare:
    """A generation that another instance has shared, verified."""

    number: int
    sender: CertificateId
    created_ms: int
    """When the generation was first certified; when it was shared, for the one that comes next."""
    seed: bytes = field(repr=False)


def open_share(
    raw: bytes,
    *,
    own: Sequence[CertificateId],
    service: str,
    seals: Sequence[KemKey],
    directory: CertificateDirectory,
) -> TakenShare:
    """Verify a share and open it with one of `seals`. Taken are certified generations, and the one that comes next.

    Raises `Refused`: TOO_LARGE, MALFORMED, BAD_SIGNATURE, NOT_A_RECIPIENT, MAY_NOT_PUBLISH (the sender is of
    another service), KEY_PACKAGE_INVALID, and what `CertificateDirectory.certificate` raises about the sender.
    """
    share = _parse(raw)
    if share.service != service or share.recipient not in own:
        raise Refused(Reason.NOT_A_RECIPIENT, "the shared key is for another instance")
    sender = directory.certificate(CertificateId(share.sender), at_ms=share.created_ms)
    open_object(SHARE, raw, sender.suite, sender.sign_key, max_bytes=MAX_SHARE_BYTES)
    if sender.service != service:
        raise Refused(Reason.MAY_NOT_PUBLISH, f"{sender.service} cannot share a key of {service}")
    key = _unwrap(share, seals, _info(service, share.generation, share.recipient, share.sender))
    first_ms = _check_generation(share, key, directory.history(service))
    return TakenShare(number=share.generation, sender=sender.id, created_ms=first_ms, seed=key.seed)


def _check_generation(
    share: pb.SharedServiceKey, key: KemKey, history: Sequence[Certificate]
) -> int:
    """When the generation came into use: known from certificates, or now for the next one, which is shared first."""
    same = [one for one in history if one.kem_generation == share.generation]
    if same and all(one.kem_key == key.public_bytes for one in same):
        return min(one.not_before_ms for one in same)
    if not same and share.generation == 1 + max(one.kem_generation for one in history):
        return share.created_ms
    raise Refused(
        Reason.KEY_PACKAGE_INVALID,
        f"the key shared as generation {share.generation} of {share.service} is not the certified one",
    )


def _parse(raw: bytes) -> pb.SharedServiceKey:
    signed = parsed_object(SHARE, raw, max_bytes=MAX_SHARE_BYTES)
    try:
        share = pb.SharedServiceKey.FromString(signed.body)
    except DecodeError:
        raise Refused(Reason.MALFORMED, f"the body of a {SHARE} does not parse") from None
    if len(share.recipient) != ID_BYTES or len(share.sender) != ID_BYTES:
        raise Refused(Reason.MALFORMED, f"a {SHARE} names no certificates")
    return share


def _unwrap(share: pb.SharedServiceKey, seals: Sequence[KemKey], info: bytes) -> KemKey:
    for seal in reversed(seals):
        try:
            return KemKey.from_seed(seal.suite.number, seal.unwrap(share.sealed_seed, info))
        except Refused:
            continue  # sealed to the other one of this instance's keys
    raise Refused(
        Reason.KEY_PACKAGE_INVALID, "the shared key opens with no sealing key of this instance"
    )


__all__ = ["MAX_SHARE_BYTES", "SHARE", "TakenShare", "open_share", "seal_share", "share_key"]
