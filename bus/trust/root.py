"""The root of trust: the authority's two public keys, pinned on every machine, and objects that both have signed.

Certificates and directory heads are evidence that must outlive quantum computers, so the authority signs them twice:
with the suite's signature and with ML-DSA-65 (FIPS 204). Both must verify.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey
from google.protobuf.message import DecodeError

from bus.envelope.signed import open_object, sign_object
from bus.envelope.suites import NAMESPACE, SigningKey
from bus.envelope.types import Reason, Refused
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb

_SEED_BYTES: Final = 32
_PUBLIC_PQ_BYTES: Final = 1952
_PUBLIC_SIGN_BYTES: Final = {1: 32, 2: 97}


def _pq_bytes(kind: str, body: bytes) -> bytes:
    return NAMESPACE + kind.encode() + b"\0" + body


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """Whom this machine believes. Public, but it must come by a path that can be trusted."""

    mesh: str
    suite: int
    sign_key: bytes
    """Ed25519, 32 bytes (suite 1), or a P-384 point, 97 bytes (suite 2)."""
    pq_key: bytes = field(repr=False)
    """ML-DSA-65, 1952 bytes."""

    @property
    def id(self) -> bytes:
        """SHA-256(sign_key || pq_key)[:16]: the `issuer` of certificates."""
        return hashlib.sha256(self.sign_key + self.pq_key).digest()[:16]

    def open(self, kind: str, raw: bytes, *, max_bytes: int) -> bytes:
        """Verify both signatures of a SignedObject and return its body.

        Raises `Refused`: TOO_LARGE, MALFORMED, BAD_SIGNATURE, SUITE_NOT_ALLOWED.
        """
        body = open_object(kind, raw, self.suite, self.sign_key, max_bytes=max_bytes)
        signature = pb.SignedObject.FromString(raw).pq_sig
        try:
            MLDSA65PublicKey.from_public_bytes(self.pq_key).verify(signature, _pq_bytes(kind, body))
        except (InvalidSignature, ValueError):
            raise Refused(
                Reason.BAD_SIGNATURE, f"the ML-DSA signature of a {kind} does not verify"
            ) from None
        return body

    def to_bytes(self) -> bytes:
        """The root as a text that can be kept in a file and compared by eye."""
        content = {
            "format": 1,
            "mesh": self.mesh,
            "suite": self.suite,
            "id": self.id.hex(),
            "sign": self.sign_key.hex(),
            "ml-dsa-65": self.pq_key.hex(),
        }
        return json.dumps(content, indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, raw: bytes) -> Root:
        """Read what `to_bytes` gave. Raises `Refused` (MALFORMED)."""
        try:
            content = json.loads(raw)
            root = cls(
                mesh=str(content["mesh"]),
                suite=int(content["suite"]),
                sign_key=bytes.fromhex(content["sign"]),
                pq_key=bytes.fromhex(content["ml-dsa-65"]),
            )
            complete = content["format"] == 1 and content["id"] == root.id.hex()
        except (ValueError, KeyError, TypeError):
            complete = False
        else:
            complete = (
                complete
                and len(root.sign_key) == _PUBLIC_SIGN_BYTES.get(root.suite)
                and len(root.pq_key) == _PUBLIC_PQ_BYTES
            )
            if complete:
                return root
        raise Refused(Reason.MALFORMED, "this is no root of trust that medmesh wrote")


class RootKeys:
    """The authority's private keys. They sign certificates and heads, and open nothing."""

    def __init__(self, mesh: str, sign: SigningKey, pq_seed: bytes) -> None:
        self._sign = sign
        self._pq = MLDSA65PrivateKey.from_seed_bytes(pq_seed)
        self.root = Root(
            mesh=mesh,
            suite=sign.suite.number,
            sign_key=sign.public_bytes,
            pq_key=self._pq.public_key().public_bytes_raw(),
        )

    @staticmethod
    def new_pq_seed() -> bytes:
        """A fresh ML-DSA-65 seed, 32 bytes."""
        return secrets.token_bytes(_SEED_BYTES)

    def sign(self, kind: str, body: bytes) -> bytes:
        """Sign `body` twice and return the serialised SignedObject. About 1 ms, most of it ML-DSA."""
        signed = pb.SignedObject.FromString(sign_object(kind, body, self._sign))
        signed.pq_sig = self._pq.sign(_pq_bytes(kind, body))
        return signed.SerializeToString()


def parsed_object(kind: str, raw: bytes, *, max_bytes: int) -> pb.SignedObject:
    """Parse a SignedObject whose signer is named only inside it. Nothing in it is authentic yet.

    Raises `Refused`: TOO_LARGE, MALFORMED.
    """
    if len(raw) > max_bytes:
        raise Refused(
            Reason.TOO_LARGE, f"{kind} has {len(raw)} bytes; at most {max_bytes} are allowed"
        )
    try:
        signed = pb.SignedObject.FromString(raw)
    except DecodeError:
        raise Refused(Reason.MALFORMED, f"no signed object of kind {kind}") from None
    if signed.kind != kind:
        raise Refused(Reason.MALFORMED, f"a signed object of another kind than {kind}")
    return signed


__all__ = ["Root", "RootKeys", "parsed_object"]
