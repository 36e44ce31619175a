"""Seal and open: signed, encrypted, many-recipient messages. A pure library: no input, no output, no waiting.

`Sealer.seal` puts what was published together under one signature; `Opener.open` turns bytes into an `Envelope` or
raises `Refused` with its reason. What the broker still learns: subjects, padded sizes, times, sender ids, rates.
"""

from __future__ import annotations

from bus.envelope.limits import MAX_BATCH, Limits
from bus.envelope.opener import Opener
from bus.envelope.sealer import DEFAULT_TTL_MS, Sealer
from bus.envelope.signed import open_object, sign_object
from bus.envelope.suites import (
    DEFAULT_SUITE,
    SUITES,
    Entropy,
    KemKey,
    SigningKey,
    Suite,
    check_kem_public,
    kem_key_id,
    suite_of,
    verify,
    wrap,
)
from bus.envelope.types import (
    Certificate,
    CertificateId,
    ContentTooLarge,
    Directory,
    Envelope,
    EpochId,
    KeyPackageMissing,
    MayNotRead,
    NobodyMayRead,
    Plain,
    Reason,
    Refused,
    SealedBatch,
    SealedEnvelope,
)
from bus.envelope.wire import standalone

__all__ = [
    "DEFAULT_SUITE",
    "DEFAULT_TTL_MS",
    "MAX_BATCH",
    "SUITES",
    "Certificate",
    "CertificateId",
    "ContentTooLarge",
    "Directory",
    "Entropy",
    "Envelope",
    "EpochId",
    "KemKey",
    "KeyPackageMissing",
    "Limits",
    "MayNotRead",
    "NobodyMayRead",
    "Opener",
    "Plain",
    "Reason",
    "Refused",
    "SealedBatch",
    "SealedEnvelope",
    "Sealer",
    "SigningKey",
    "Suite",
    "check_kem_public",
    "kem_key_id",
    "open_object",
    "sign_object",
    "standalone",
    "suite_of",
    "verify",
    "wrap",
]
