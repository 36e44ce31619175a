"""Vectors that others published, as gates: an update of the library must not change what is accepted.

Sources and licences are listed beside the vectors, in `vectors/README.md` of the shared data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.bindings._rust import openssl as rust_openssl
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, mlkem, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM1024P384PrivateKey,
    Suite,
)
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bus.envelope import SUITES, KemKey, Refused, verify
from tests.shared_data import shared_path

P384_ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    16,
)
Json = dict[str, Any]
unhex = bytes.fromhex


def load(name: str) -> Any:
    return json.loads(shared_path(f"vectors/{name}").read_text())


def wycheproof(name: str) -> Iterator[tuple[Json, Json]]:
    for group in load(f"wycheproof/{name}.json")["testGroups"]:
        for case in group["tests"]:
            yield group, case


def check(name: str, accepts: Callable[[Json, Json], bool]) -> None:
    """Nothing invalid is accepted and nothing valid refused; `acceptable` may go either way."""
    count = 0
    for group, case in wycheproof(name):
        try:
            accepted = accepts(group, case)
        except (ValueError, InvalidSignature, InvalidTag, Refused):
            accepted = False
        expected = case["result"]
        assert expected == "acceptable" or accepted is (expected == "valid"), case["tcId"]
        count += 1
    assert count > 50


def test_ed25519_signatures_of_suite_1() -> None:
    def accepts(group: Json, case: Json) -> bool:
        public = unhex(group["publicKey"]["pk"])
        verify(1, public, unhex(case["sig"]), unhex(case["msg"]))
        return True

    check("ed25519_test", accepts)


def test_ecdsa_p384_signatures_of_suite_2_with_the_lower_s_alone() -> None:
    lower = 0

    def accepts(group: Json, case: Json) -> bool:
        nonlocal lower
        public = unhex(group["publicKey"]["uncompressed"])
        signature, message = unhex(case["sig"]), unhex(case["msg"])
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), public)
        key.verify(signature, message, ec.ECDSA(hashes.SHA384()))
        is_lower = decode_dss_signature(signature)[1] <= P384_ORDER // 2
        try:
            verify(2, public, signature, message)
        except Refused:
            assert not is_lower
        else:
            assert is_lower
            lower += 1
        return True

    check("ecdsa_secp384r1_sha384_test", accepts)
    assert lower > 20


def test_ecdsa_p256_signatures_of_certificates() -> None:
    def accepts(group: Json, case: Json) -> bool:
        public = unhex(group["publicKey"]["uncompressed"])
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
        key.verify(unhex(case["sig"]), unhex(case["msg"]), ec.ECDSA(hashes.SHA256()))
        return True

    check("ecdsa_secp256r1_sha256_test", accepts)


def test_aes_256_gcm_as_bodies_use_it() -> None:
    ours = 0

    def accepts(group: Json, case: Json) -> bool:
        nonlocal ours
        sizes = group["keySize"], group["ivSize"], group["tagSize"]
        ours += sizes == (256, 96, 128)
        if not 64 <= group["ivSize"] <= 1024:  # what the library takes
            return bool(case["result"] == "valid")
        text = unhex(case["ct"]) + unhex(case["tag"])
        plain = AESGCM(unhex(case["key"])).decrypt(unhex(case["iv"]), text, unhex(case["aad"]))
        return plain == unhex(case["msg"])

    check("aes_gcm_test", accepts)
    assert ours > 50


@pytest.mark.parametrize("suite", [1, 2])
def test_hkdf_of_each_suite(suite: int) -> None:
    def accepts(_: Json, case: Json) -> bool:
        digest = SUITES[suite].digest
        hkdf = HKDF(digest, case["size"], unhex(case["salt"]) or None, unhex(case["info"]))
        return hkdf.derive(unhex(case["ikm"])) == unhex(case["okm"])

    check({1: "hkdf_sha256_test", 2: "hkdf_sha384_test"}[suite], accepts)


def test_x25519_half_of_suite_1() -> None:
    def accepts(_: Json, case: Json) -> bool:
        private = x25519.X25519PrivateKey.from_private_bytes(unhex(case["private"]))
        public = x25519.X25519PublicKey.from_public_bytes(unhex(case["public"]))
        return private.exchange(public) == unhex(case["shared"])

    check("x25519_test", accepts)


@pytest.mark.parametrize(
    ("name", "private_key"),
    [
        ("mlkem_768_test", mlkem.MLKEM768PrivateKey),
        ("mlkem_1024_test", mlkem.MLKEM1024PrivateKey),
    ],
)
def test_ml_kem_half_of_each_suite(
    name: str, private_key: type[mlkem.MLKEM768PrivateKey | mlkem.MLKEM1024PrivateKey]
) -> None:
    def accepts(_: Json, case: Json) -> bool:
        key = private_key.from_seed_bytes(unhex(case["seed"]))
        if "ek" in case and key.public_key().public_bytes_raw() != unhex(case["ek"]):
            return False
        return key.decapsulate(unhex(case["c"])) == unhex(case["K"])

    check(name, accepts)


def test_malformed_ml_kem_keys_are_refused() -> None:
    cases = load("wycheproof/mlkem_encaps_invalid_ek.json")["tests"]
    for case in cases:
        is_768 = case["parameterSet"] == "ML-KEM-768"
        public_key = mlkem.MLKEM768PublicKey if is_768 else mlkem.MLKEM1024PublicKey
        with pytest.raises(ValueError):
            public_key.from_public_bytes(unhex(case["ek"])).encapsulate()
    assert len(cases) == 52


def test_ml_dsa_65_signatures_of_evidence() -> None:
    def verifies(group: Json, case: Json) -> bool:
        key = mldsa.MLDSA65PublicKey.from_public_bytes(unhex(group["publicKey"]))
        key.verify(unhex(case["sig"]), unhex(case["msg"]), _context(case))
        return True

    check("mldsa_65_verify_test", verifies)

    def signs(group: Json, case: Json) -> bool:
        if "Internal" in case["flags"]:  # a message representative made outside: not this API
            return bool(case["result"] == "valid")
        key = mldsa.MLDSA65PrivateKey.from_seed_bytes(unhex(group["privateSeed"]))
        public, message, context = key.public_key(), unhex(case["msg"]), _context(case)
        public.verify(key.sign(message, context), message, context)
        public.verify(unhex(case["sig"]), message, context)
        return public.public_bytes_raw() == unhex(group["publicKey"])

    check("mldsa_65_sign_seed_test", signs)


def _context(case: Json) -> bytes | None:
    return unhex(case["ctx"]) if case.get("ctx") else None


def test_x_wing_keys_and_secrets_of_suite_1() -> None:
    cases = load("xwing/test-vectors.json")
    for case in cases:
        seed, ct = unhex(case["sk"]), unhex(case["ct"])
        assert KemKey.from_seed(1, seed).public_bytes == unhex(case["pk"])
        expanded = hashlib.shake_256(seed).digest(96)
        lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        curve = x25519.X25519PrivateKey.from_private_bytes(expanded[64:])
        shared = curve.exchange(x25519.X25519PublicKey.from_public_bytes(ct[1088:]))
        text = lattice.decapsulate(ct[:1088]) + shared + ct[1088:]
        text += curve.public_key().public_bytes_raw() + rb"\.//^" + b"\\"
        assert hashlib.sha3_256(text).digest() == unhex(case["ss"])
    assert len(cases) == 3


KEMS = {
    0x10: KEM.P256,
    0x11: KEM.P384,
    0x12: KEM.P521,
    0x20: KEM.X25519,
    0x41: KEM.MLKEM768,
    0x42: KEM.MLKEM1024,
    0x51: KEM.MLKEM1024_P384,
    0x647A: KEM.MLKEM768_X25519,
}
KDFS = {
    1: KDF.HKDF_SHA256,
    2: KDF.HKDF_SHA384,
    3: KDF.HKDF_SHA512,
    0x10: KDF.SHAKE128,
    0x11: KDF.SHAKE256,
}
AEADS = {1: AEAD.AES_128_GCM, 2: AEAD.AES_256_GCM, 3: AEAD.CHACHA20_POLY1305}
CURVES = {0x10: ec.SECP256R1(), 0x11: ec.SECP384R1(), 0x12: ec.SECP521R1()}


def hpke_private(kem: int, raw: bytes) -> Any:
    if kem in CURVES:
        return ec.derive_private_key(int.from_bytes(raw, "big"), CURVES[kem])
    if kem == 0x20:
        return x25519.X25519PrivateKey.from_private_bytes(raw)
    if kem == 0x41:
        return mlkem.MLKEM768PrivateKey.from_seed_bytes(raw)
    if kem == 0x42:
        return mlkem.MLKEM1024PrivateKey.from_seed_bytes(raw)
    private = KemKey.from_seed({0x647A: 1, 0x51: 2}[kem], raw)._private
    assert isinstance(private, MLKEM768X25519PrivateKey | MLKEM1024P384PrivateKey)
    return private


@pytest.mark.parametrize(
    ("name", "expected"), [("rfc9180/base-mode.json", 18), ("hpke-pq/test-vectors.json", 7)]
)
def test_hpke_in_base_mode(name: str, expected: int) -> None:
    """The known answers carry additional data, which only a private function of the library takes."""
    done = 0
    for case in load(name):
        ids = case["kem_id"], case["kdf_id"], case["aead_id"]
        if case["mode"] or ids[0] not in KEMS or ids[1] not in KDFS or ids[2] not in AEADS:
            continue
        suite = Suite(KEMS[ids[0]], KDFS[ids[1]], AEADS[ids[2]])
        private = hpke_private(ids[0], unhex(case["skRm"]))
        first = case["encryptions"][0]
        text = rust_openssl.hpke._decrypt_with_aad(
            suite,
            unhex(case["enc"]) + unhex(first["ct"]),
            private,
            unhex(case["info"]),
            unhex(first["aad"]),
        )
        assert text == unhex(first["pt"])
        done += 1
    assert done == expected


def test_kem_keys_of_both_suites_follow_from_the_drafts_seeds() -> None:
    suites = {0x647A: 1, 0x51: 2}
    found = set()
    for case in load("hpke-pq/test-vectors.json"):
        if case["kem_id"] in suites and len(unhex(case["skRm"])) == 32:
            key = KemKey.from_seed(suites[case["kem_id"]], unhex(case["skRm"]))
            assert key.public_bytes == unhex(case["pkRm"])
            found.add(case["kem_id"])
    assert found == set(suites)
