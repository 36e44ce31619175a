"""What can go wrong with keys and certificates, in words for whoever repairs it.

What comes from outside (certificates, heads, packages) and does not verify raises `bus.envelope.types.Refused`.
"""

from __future__ import annotations

from typing import ClassVar

from schemas.errors import MeshError


class TrustStorageError(MeshError, OSError):
    """A file of keys or certificates cannot be read or written: the disk, not the cryptography."""

    code: ClassVar[str] = "trust_storage"
    retryable: ClassVar[bool] = True


class KeystoreUnsafe(MeshError, PermissionError):
    """Others on this machine could read or replace private keys. The message has the command that repairs it."""

    code: ClassVar[str] = "keystore_unsafe"


class KeystoreDamaged(MeshError, ValueError):
    """A file of the keystore is not what was written: cut short, edited, or moved from another name."""

    code: ClassVar[str] = "keystore_damaged"


class PassphraseWrong(MeshError, PermissionError):
    """The passphrase does not open the keystore, is missing, or the keystore was made without one."""

    code: ClassVar[str] = "passphrase_wrong"


class KeyMissing(MeshError, LookupError):
    """The keystore has no key of this name."""

    code: ClassVar[str] = "key_missing"


class NoAuthority(MeshError, LookupError):
    """No authority on this machine could issue certificates, and it is not enrolled with one elsewhere."""

    code: ClassVar[str] = "no_authority"


class ForeignAuthority(MeshError, PermissionError):
    """The mesh, or this machine's folder, belongs to another authority than the one asked for."""

    code: ClassVar[str] = "foreign_authority"


class CertificateRefused(MeshError, PermissionError):
    """The authority will not certify what was asked: the message says which part of the request is not allowed."""

    code: ClassVar[str] = "certificate_refused"


class GenerationTaken(CertificateRefused):
    """Another instance of the service has certified another key as this generation: take that one."""

    code: ClassVar[str] = "generation_taken"
    retryable: ClassVar[bool] = True

    def __init__(self, detail: str, *, certificate: bytes) -> None:
        super().__init__(detail)
        self.certificate = certificate
        """The other instance's signed certificate."""


__all__ = [
    "CertificateRefused",
    "ForeignAuthority",
    "GenerationTaken",
    "KeyMissing",
    "KeystoreDamaged",
    "KeystoreUnsafe",
    "NoAuthority",
    "PassphraseWrong",
    "TrustStorageError",
]
