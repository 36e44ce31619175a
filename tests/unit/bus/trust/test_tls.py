from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from bus.clock import SystemClock
from bus.trust.tls import (
    DevelopmentCertificates,
    client_context,
    development_certificates,
    server_context,
)
from schemas.errors import ConfigurationError


@pytest.fixture
def files(tmp_path: Path) -> DevelopmentCertificates:
    return development_certificates(tmp_path / "tls", clock=SystemClock())


def shake(client: ssl.SSLContext, server: ssl.SSLContext, name: str = "localhost") -> ssl.SSLObject:
    """Let two contexts shake hands in memory; returns the server's side."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname=name)
    other = server.wrap_bio(to_server, to_client, server_side=True)
    done = [False, False]
    for _ in range(10):
        for i, side in enumerate((one, other)):
            try:
                if not done[i]:
                    side.do_handshake()
                    done[i] = True
            except ssl.SSLWantReadError:
                pass
    assert all(done), "the handshake did not end"
    other.write(b"x")
    assert one.read(1) == b"x"  # with TLS 1.3 the client learns here that it was refused
    return other


def test_client_and_server_trust_each_other(files: DevelopmentCertificates) -> None:
    server = server_context(
        certificate=files.server_certificate, key=files.server_key, client_ca=files.ca
    )
    client = client_context(ca=files.ca, certificate=files.client_certificate, key=files.client_key)
    for name in ("localhost", "127.0.0.1", "::1"):
        link = shake(client, server, name)
        assert link.version() == "TLSv1.3"
        assert link.getpeercert() is not None


def test_a_client_without_a_certificate_is_refused(files: DevelopmentCertificates) -> None:
    server = server_context(
        certificate=files.server_certificate, key=files.server_key, client_ca=files.ca
    )
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        shake(client_context(ca=files.ca), server)


def test_a_server_of_another_authority_or_name_is_refused(
    files: DevelopmentCertificates, tmp_path: Path
) -> None:
    server = server_context(certificate=files.server_certificate, key=files.server_key)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake(client_context(ca=files.ca), server, "his.example")
    other = development_certificates(tmp_path / "other", clock=SystemClock())
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client_context(ca=other.ca), server)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client_context(), server)


def test_a_clients_certificate_cannot_serve(files: DevelopmentCertificates) -> None:
    server = server_context(certificate=files.client_certificate, key=files.client_key)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client_context(ca=files.ca), server, "medmesh-client")


def test_tls_1_2_has_forward_secrecy_and_1_1_is_refused(files: DevelopmentCertificates) -> None:
    server = server_context(certificate=files.server_certificate, key=files.server_key)
    client = client_context(ca=files.ca)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    cipher = shake(client, server).cipher()
    assert cipher is not None
    assert cipher[0].startswith("ECDHE")
    with pytest.raises(ConfigurationError, match=r"1\.2 or 1\.3"):
        server_context(
            certificate=files.server_certificate,
            key=files.server_key,
            minimum=ssl.TLSVersion.TLSv1,
        )
    assert all(one["name"].startswith(("TLS_", "ECDHE")) for one in server.get_ciphers())


def test_tls_1_3_can_be_demanded(files: DevelopmentCertificates) -> None:
    server = server_context(
        certificate=files.server_certificate,
        key=files.server_key,
        minimum=ssl.TLSVersion.TLSv1_3,
    )
    client = client_context(ca=files.ca)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake(client, server)


def test_keys_are_private_and_the_authority_is_p_256(files: DevelopmentCertificates) -> None:
    for path in (files.server_key, files.client_key):
        assert path.stat().st_mode & 0o777 == 0o600
    authority = x509.load_pem_x509_certificate(files.ca.read_bytes())
    assert authority.public_key().key_size == 256  # type: ignore[union-attr]  # an elliptic curve
    assert sorted(path.suffix for path in files.ca.parent.iterdir()) == sorted(
        [".pem", ".pem", ".pem", ".key", ".key"]
    )


def test_wrong_files_are_named(files: DevelopmentCertificates, tmp_path: Path) -> None:
    missing, junk = tmp_path / "missing.pem", tmp_path / "junk.pem"
    junk.write_text("junk")
    junk.chmod(0o600)
    good, key = files.server_certificate, files.server_key
    for certificate, private, words in (
        (missing, key, "tls.certificate .*missing.pem: No such file"),
        (good, missing, "tls.key .*missing.pem: No such file"),
        (junk, key, "tls.certificate .*junk.pem with tls.key"),
        (good, files.client_key, "key values mismatch"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            server_context(certificate=certificate, key=private)
    with pytest.raises(ConfigurationError, match=r"tls.ca .*junk.pem holds no certificate"):
        client_context(ca=junk)
    with pytest.raises(ConfigurationError, match="one of them is missing"):
        client_context(certificate=good)
    key.chmod(0o644)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {key}"):
        server_context(certificate=good, key=key)


def test_a_key_under_a_passphrase_does_not_hang_the_start(
    files: DevelopmentCertificates, tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(files.server_key.read_bytes(), None)
    sealed = tmp_path / "sealed.key"
    sealed.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    sealed.chmod(0o600)
    with pytest.raises(ConfigurationError, match="under a passphrase"):
        server_context(certificate=files.server_certificate, key=sealed)
