"""Who is who: keys, certificates, the signed directory, and what this process keeps of them.

`Trust` is the way in. `Authority`, `Keystore` and `CertificateDirectory` serve commands and tests.
"""

from bus.trust.authority import Authority
from bus.trust.directory import CertificateDirectory
from bus.trust.errors import (
    CertificateRefused,
    ForeignAuthority,
    GenerationTaken,
    KeyMissing,
    KeystoreDamaged,
    KeystoreUnsafe,
    NoAuthority,
    PassphraseWrong,
    TrustStorageError,
)
from bus.trust.identity import ServiceIdentity
from bus.trust.keystore import Keystore
from bus.trust.mesh import Trust, TrustHealth
from bus.trust.root import Root
from bus.trust.settings import TrustSettings, WhenStale

__all__ = [
    "Authority",
    "CertificateDirectory",
    "CertificateRefused",
    "ForeignAuthority",
    "GenerationTaken",
    "KeyMissing",
    "Keystore",
    "KeystoreDamaged",
    "KeystoreUnsafe",
    "NoAuthority",
    "PassphraseWrong",
    "Root",
    "ServiceIdentity",
    "Trust",
    "TrustHealth",
    "TrustSettings",
    "TrustStorageError",
    "WhenStale",
]
