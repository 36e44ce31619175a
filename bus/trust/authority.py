"""The mesh's authority: certifies services and signs the directory head. The embedded mesh makes one at first start.

It holds no key that opens anything, so a stolen authority cannot read the past. Several processes on one machine may
share its folder: a lock on it orders them, and versions of the head never go back.
"""

from __future__ import annotations

import secrets
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from bus.envelope.suites import SigningKey
from bus.envelope.types import Certificate, CertificateId, Refused
from bus.trust.errors import CertificateRefused, ForeignAuthority, GenerationTaken, NoAuthority
from bus.trust.files import locked, private_folder, read_private, write_atomic
from bus.trust.keystore import Keystore, Passphrase, passphrase_from_environment
from bus.trust.objects import (
    CERTIFICATE,
    HEAD,
    MAX_CERTIFICATE_BYTES,
    MAX_HEAD_BYTES,
    Head,
    certificate_id,
    check_form,
    from_wire,
    head_body,
    open_head,
    open_request,
)
from bus.trust.root import Root, RootKeys, parsed_object
from bus.trust.settings import TrustSettings
from schemas.clock import Clock
from schemas.generated.medmesh.control.v1 import control_pb2 as pb

_ROOT: Final = "root"
_HEAD: Final = "head"
_LOCK: Final = ".lock"


class Authority:
    """Issues certificates and heads. Every method blocks for a few milliseconds (lock, signature, fsync)."""

    def __init__(
        self, folder: Path, keys: RootKeys, *, clock: Clock, settings: TrustSettings
    ) -> None:
        self._folder = folder
        self._keys = keys
        self._clock = clock
        self._settings = settings
        self._issued: dict[str, Certificate] = {}

    @property
    def root(self) -> Root:
        """The public half, to be pinned on every machine of the mesh."""
        return self._keys.root

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether an authority lies in this folder."""
        return (folder / _ROOT).exists()

    @classmethod
    def create_or_load(
        cls,
        folder: Path,
        *,
        mesh: str,
        clock: Clock,
        settings: TrustSettings | None = None,
        passphrase: Passphrase = passphrase_from_environment,
    ) -> Authority:
        """Load the authority of `mesh`, or make it when the folder has none.

        Raises `ForeignAuthority` when the folder holds another mesh's, and what `Keystore.open` raises.
        """
        private_folder(folder)
        with locked(folder / _LOCK):
            if not cls.exists(folder):
                _create(folder, mesh, (settings or TrustSettings()).suite, passphrase)
        return cls.load(folder, mesh=mesh, clock=clock, settings=settings, passphrase=passphrase)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        mesh: str,
        clock: Clock,
        settings: TrustSettings | None = None,
        passphrase: Passphrase = passphrase_from_environment,
    ) -> Authority:
        """Load an authority. Raises `NoAuthority`, `ForeignAuthority`, and what `Keystore.open` raises."""
        try:
            root = Root.from_bytes(read_private(folder / _ROOT))
        except FileNotFoundError:
            raise NoAuthority(f"{folder} holds no authority") from None
        if root.mesh != mesh:
            raise ForeignAuthority(
                f"{folder} holds the authority of mesh {root.mesh!r}, and mesh.name is {mesh!r}: "
                f"set mesh.name to {root.mesh!r}, or mesh.data to another folder"
            )
        store = Keystore.open(folder / "keys", passphrase=passphrase)
        keys = RootKeys(
            mesh, SigningKey.from_bytes(root.suite, store.read("sign")), store.read("ml-dsa-65")
        )
        if keys.root != root:
            raise ForeignAuthority(f"the keys in {folder} are not those of its root: restore it")
        return cls(folder, keys, clock=clock, settings=settings or TrustSettings())

    def issue(self, request: bytes) -> bytes:
        """Check a request (`Wanted.request`) and return the signed certificate; it replaces the instance's older ones.

        The window begins now and lasts `certificate_lifetime_s`. Raises `CertificateRefused`, `GenerationTaken`.
        """
        wanted = self._checked(request)
        with self._locked():
            issued = self._read_issued()
            self._check_standing(wanted, issued)
            return self._sign(wanted, issued)

    def head(self, *, renew: bool = False) -> bytes:
        """The signed directory head: the newest one while it is young and says what is true, else a new one.

        `renew` signs a new one in any case. Its version is above every version that this folder has seen.
        """
        with self._locked():
            now = self._clock.now_ms()
            issued, revoked = self._read_issued(), self._read_revoked()
            live = [c.id for c in _newest(issued) if c.id not in revoked and c.not_after_ms > now]
            raw, last = self._last_head()
            if last is not None and not renew:
                age = now - last.issued_ms
                young = -self._settings.skew_ms < age < self._settings.head_interval_s * 1000
                if young and last.live == frozenset(live) and last.revoked == frozenset(revoked):
                    return raw
            # A folder restored from a backup would repeat versions that receivers have seen: time does not.
            version = max(now, last.version + 1 if last is not None else 1)
            moment = max([now, *(c.not_before_ms + 1 for c in issued)])
            body = head_body(
                version=version,
                issued_ms=moment,
                expires_ms=moment + round(self._settings.head_lifetime_s * 1000),
                live=live,
                revoked=sorted(revoked),
            )
            raw = self._keys.sign(HEAD, body)
            write_atomic(self._folder / _HEAD, raw)
            return raw

    def revoke(self, certificate: CertificateId) -> None:
        """Revoke an instance by one of its certificates: all that it has go with it, for every time they signed at.

        Takes effect with the next `head`. An id that was never issued here is ignored by receivers and kept.
        """
        with self._locked():
            issued = self._read_issued()
            named = next((c for c in issued if c.id == certificate), None)
            ids = {certificate}
            if named is not None:
                ids |= {c.id for c in issued if _place(c) == _place(named)}
            folder = private_folder(self._folder / "revoked")
            for one in ids:
                write_atomic(folder / one.hex(), b"")

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self._folder / _LOCK)

    def _checked(self, request: bytes) -> pb.ServiceCert:
        try:
            wanted = open_request(request)
            mesh, _, _ = check_form(wanted)
        except Refused as error:
            raise CertificateRefused(f"certificate request: {error}") from error
        if mesh != self.root.mesh:
            raise CertificateRefused(
                f"{wanted.spiffe_id} is not of this authority's mesh {self.root.mesh!r}"
            )
        now = self._clock.now_ms()
        if abs(now - wanted.not_before_ms) > self._settings.skew_ms:
            raise CertificateRefused(
                f"the request of {wanted.spiffe_id} was made at {wanted.not_before_ms} ms and it is "
                f"{now} ms: more than {self._settings.skew_s} s apart; set the machines' clocks"
            )
        return wanted

    def _sign(self, wanted: pb.ServiceCert, issued: list[Certificate]) -> bytes:
        place = (wanted.spiffe_id, wanted.instance)
        earlier = [c.not_before_ms for c in issued if _place(c) == place]
        now = self._clock.now_ms()
        wanted.not_before_ms = max([now, *(moment + 1 for moment in earlier)])
        wanted.not_after_ms = wanted.not_before_ms + round(
            self._settings.certificate_lifetime_s * 1000
        )
        wanted.serial = secrets.token_bytes(16)
        wanted.issuer = self.root.id
        body = wanted.SerializeToString()
        raw = self._keys.sign(CERTIFICATE, body)
        folder = private_folder(self._folder / "issued")
        write_atomic(folder / certificate_id(body).hex(), raw)
        return raw

    def _check_standing(self, wanted: pb.ServiceCert, issued: list[Certificate]) -> None:
        revoked = self._read_revoked()
        service, generation = wanted.spiffe_id, wanted.kem_generation
        for other in issued:
            if other.id in revoked and (
                _place(other) == (service, wanted.instance) or other.sign_key == wanted.sign_key
            ):
                raise CertificateRefused(f"instance {wanted.instance} of {service} is revoked")
            same = (other.service, other.kem_generation) == (service, generation)
            if same and other.kem_key != wanted.kem_key:
                raise GenerationTaken(
                    f"generation {generation} of {service} has another key, certified for "
                    f"instance {other.instance}",
                    certificate=read_private(self._folder / "issued" / other.id.hex()),
                )

    def _read_issued(self) -> list[Certificate]:
        """Certificates issued and not yet past their history; files of older ones are removed."""
        folder = private_folder(self._folder / "issued")
        forgotten = self._clock.now_ms() - round(self._settings.bucket_max_age_s * 1000)
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        self._issued = {name: c for name, c in self._issued.items() if name in names}
        for name in names - self._issued.keys():
            signed = parsed_object(
                CERTIFICATE, read_private(folder / name), max_bytes=MAX_CERTIFICATE_BYTES
            )
            self._issued[name] = from_wire(
                pb.ServiceCert.FromString(signed.body), certificate_id(signed.body)
            )
        for name in [name for name, c in self._issued.items() if c.not_after_ms < forgotten]:
            (folder / name).unlink(missing_ok=True)
            (self._folder / "revoked" / name).unlink(missing_ok=True)
            del self._issued[name]
        return list(self._issued.values())

    def _read_revoked(self) -> set[bytes]:
        folder = private_folder(self._folder / "revoked")
        return {bytes.fromhex(path.name) for path in folder.iterdir() if path.name[0] != "."}

    def _last_head(self) -> tuple[bytes, Head | None]:
        try:
            raw = read_private(self._folder / _HEAD, max_bytes=MAX_HEAD_BYTES)
        except FileNotFoundError:
            return b"", None
        return raw, open_head(raw, self.root)


def _place(certificate: Certificate) -> tuple[str, str]:
    return certificate.service, certificate.instance


def _newest(issued: list[Certificate]) -> list[Certificate]:
    """The newest certificate of each instance: it replaces those before it."""
    newest: dict[tuple[str, str], Certificate] = {}
    for one in issued:
        held = newest.get(_place(one))
        if held is None or one.not_before_ms > held.not_before_ms:
            newest[_place(one)] = one
    return list(newest.values())


def _create(folder: Path, mesh: str, suite: int, passphrase: Passphrase) -> None:
    store = Keystore.open(folder / "keys", passphrase=passphrase)
    sign, seed = SigningKey.generate(suite), RootKeys.new_pq_seed()
    store.write("sign", sign.to_bytes())
    store.write("ml-dsa-65", seed)
    write_atomic(folder / _ROOT, RootKeys(mesh, sign, seed).root.to_bytes())


__all__ = ["Authority"]
