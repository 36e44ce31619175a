"""TLS for MLLP and NATS: contexts from PEM files, and certificates for tests, the demo and compose.

TLS 1.2 with forward secrecy and AEAD, or 1.3. Authorities are P-256: `cryptography`'s path validation takes no Ed25519.
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bus.trust.files import private_folder, write_atomic
from schemas.clock import Clock
from schemas.errors import ConfigurationError

_TLS12_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
_GROUP_OTHER: Final = 0o077
_DEFAULT_DAYS: Final = 825


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the files are called where they are configured: errors name the key to change."""

    certificate: str = "tls.certificate"
    key: str = "tls.key"
    ca: str = "tls.ca"
    client_ca: str = "tls.client_ca"


SETTINGS: Final = Settings()


def server_context(
    *,
    certificate: Path,
    key: Path,
    client_ca: Path | None = None,
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    settings: Settings = SETTINGS,
) -> ssl.SSLContext:
    """A context for a listener. With `client_ca` every client must show a certificate of that authority.

    Raises `ConfigurationError` that names the file and says what is wrong with it.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, minimum)
    _load_own(context, certificate, key, settings)
    if client_ca is not None:
        _load_authority(context, client_ca, settings.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(
    *,
    ca: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    settings: Settings = SETTINGS,
) -> ssl.SSLContext:
    """A context that verifies the server and its name, against `ca` or the system's authorities.

    `certificate` and `key` go together, for servers that ask clients. Raises `ConfigurationError` that names the file.
    """
    if (certificate is None) != (key is None):
        raise ConfigurationError(
            f"{settings.certificate} and {settings.key} go together: one of them is missing"
        )
    context = _context(ssl.PROTOCOL_TLS_CLIENT, minimum)
    if ca is not None:
        _load_authority(context, ca, settings.ca)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if certificate is not None and key is not None:
        _load_own(context, certificate, key, settings)
    return context


def _context(protocol: int, minimum: ssl.TLSVersion) -> ssl.SSLContext:
    if minimum < ssl.TLSVersion.TLSv1_2:
        raise ConfigurationError("tls.minimum: TLS 1.2 or 1.3 is allowed")
    context = ssl.SSLContext(protocol)
    context.minimum_version = minimum
    context.set_ciphers(_TLS12_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path, settings: Settings) -> None:
    _check_readable(certificate, settings.certificate)
    _check_readable(key, settings.key)
    if key.stat().st_mode & _GROUP_OTHER:
        raise ConfigurationError(
            f"{settings.key} {key} can be read by others on this machine: run: chmod 600 {key}"
        )
    try:
        context.load_cert_chain(certificate, key, password=_refuse_passphrase)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(
            f"{settings.certificate} {certificate} with {settings.key} {key} cannot be used: {_words(error)}"
        ) from error


def _load_authority(context: ssl.SSLContext, path: Path, setting: str) -> None:
    _check_readable(path, setting)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"{setting} {path} holds no certificate: {_words(error)}"
        ) from error


def _check_readable(path: Path, setting: str) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise ConfigurationError(f"{setting} {path}: {error.strerror}") from error


def _refuse_passphrase() -> str:
    raise ValueError("the key is under a passphrase, and a server cannot type one")


def _words(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason).replace("_", " ").lower() if reason else str(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class DevelopmentCertificates:
    """PEM files for one machine. Keys have mode 0600."""

    ca: Path
    server_certificate: Path
    server_key: Path
    client_certificate: Path
    client_key: Path


def development_certificates(
    folder: Path,
    *,
    clock: Clock,
    names: Sequence[str] = ("localhost", "127.0.0.1", "::1"),
    days: int = _DEFAULT_DAYS,
) -> DevelopmentCertificates:
    """Make a P-256 authority, a server's certificate for `names` (DNS names and addresses), and a client's.

    Replaces what lies in `folder`. The authority's key is not kept: nobody can add to these certificates later.
    Raises `TrustStorageError`, `KeystoreUnsafe`.
    """
    private_folder(folder)
    issued = _Development(clock=clock, days=days)
    files = DevelopmentCertificates(
        ca=folder / "ca.pem",
        server_certificate=folder / "server.pem",
        server_key=folder / "server.key",
        client_certificate=folder / "client.pem",
        client_key=folder / "client.key",
    )
    write_atomic(files.ca, issued.authority.public_bytes(serialization.Encoding.PEM))
    for certificate, key, name, uses, alternatives in (
        (
            files.server_certificate,
            files.server_key,
            names[0],
            # Servers of a cluster are each other's clients.
            (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
            names,
        ),
        (
            files.client_certificate,
            files.client_key,
            "medmesh-client",
            (ExtendedKeyUsageOID.CLIENT_AUTH,),
            ("medmesh-client",),
        ),
    ):
        pair = issued.leaf(name, uses, alternatives)
        write_atomic(key, pair[1])
        write_atomic(certificate, pair[0])
    return files


class _Development:
    def __init__(self, *, clock: Clock, days: int) -> None:
        now = datetime.datetime.fromtimestamp(clock.now_ms() / 1000, datetime.UTC)
        self._begin = now - datetime.timedelta(hours=1)
        self._end = now + datetime.timedelta(days=days)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("medmesh development authority")
        public = self._key.public_key()
        self.authority = (
            self._builder(self._name, public)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def leaf(
        self, name: str, uses: Sequence[x509.ObjectIdentifier], alternatives: Sequence[str]
    ) -> tuple[bytes, bytes]:
        """Certificate and key as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            self._builder(_name(name), key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(
                x509.SubjectAlternativeName(map(_alternative, alternatives)), critical=False
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(issuer_id, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._begin)
            .not_valid_after(self._end)
        )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


__all__ = [
    "DevelopmentCertificates",
    "Settings",
    "client_context",
    "development_certificates",
    "server_context",
]
