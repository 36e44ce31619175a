"""Who is who, from memory: verified certificates, the newest head, and who may read what.

Implements `bus.envelope.types.Directory`. It waits for nothing and reads no file: `bus.trust.sync` feeds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from bus.envelope.types import Certificate, CertificateId, Reason, Refused
from bus.trust.objects import Head
from bus.trust.settings import TrustSettings, WhenStale
from schemas.clock import Clock
from schemas.subjects import matches

_MAX_CACHED_SUBJECTS: Final = 8192
_NEVER_MS: Final = 1 << 62


@dataclass(slots=True)
class _Record:
    certificate: Certificate
    vouched: bool
    """A fresh head was held while the certificate was known."""
    ends_ms: int
    """End of its window, or the moment at which a successor with narrower rights replaced it."""


class CertificateDirectory:
    """The live directory of one process. Not safe for several threads: it belongs to the event loop."""

    def __init__(self, *, clock: Clock, settings: TrustSettings) -> None:
        self._clock = clock
        self._settings = settings
        self._records: dict[CertificateId, _Record] = {}
        self._places: dict[tuple[str, str], list[_Record]] = {}
        self._head: Head | None = None
        self._floor = 0
        self._version = 0
        self._valid_from_ms = self._valid_until_ms = 0
        self._live: list[list[Certificate]] = []
        self._cache: dict[str, tuple[Certificate, ...]] = {}
        self._answer: tuple[bool, tuple[CertificateId, ...]] = (False, ())

    @property
    def version(self) -> int:
        """Changes whenever an answer of `readers` could change: by news, by a renewal, or because time passed."""
        now = self._clock.now_ms()
        if not self._valid_from_ms <= now < self._valid_until_ms:
            self._refresh(now)
        return self._version

    @property
    def head(self) -> Head | None:
        """The newest head that was accepted, fresh or not."""
        return self._head

    @property
    def fresh(self) -> bool:
        """Whether the newest head still speaks for the present."""
        return self._head is not None and self._clock.now_ms() < self._head.expires_ms

    def certificate(self, certificate_id: CertificateId, *, at_ms: int) -> Certificate:
        """Return the certificate of whoever signed at `at_ms`; see `bus.envelope.types.Directory`.

        The window is stretched by `skew_s` on both sides. A successor whose publish rights are narrower ends it early.
        Without a fresh head, `when_stale` decides; ended certificates are then refused until one comes, since a
        hostile carrier could be hiding their revocation.
        """
        record = self._records.get(certificate_id)
        if record is None:
            raise Refused(Reason.UNKNOWN_SIGNER, f"no certificate {certificate_id.hex()} is known")
        head, certificate, skew = self._head, record.certificate, self._settings.skew_ms
        if head is not None and certificate_id in head.revoked:
            raise Refused(Reason.SIGNER_REVOKED, f"{_who(certificate)} is revoked")
        if not certificate.not_before_ms - skew <= at_ms <= record.ends_ms + skew:
            raise Refused(
                Reason.SIGNER_EXPIRED, f"{_who(certificate)} was not in its window at {at_ms} ms"
            )
        if (
            head is None or self._clock.now_ms() >= head.expires_ms
        ) and not self._usable_while_stale(record):
            raise Refused(
                Reason.DIRECTORY_STALE,
                f"no fresh directory head vouches for {_who(certificate)} at the moment",
            )
        return certificate

    def readers(self, subject: str) -> Sequence[Certificate]:
        """One live certificate for each service that may read `subject`, sorted by service.

        An instance's newest certificate replaces its older ones; of those instances whose rights cover the subject,
        the one with the newest KEM generation stands for the service. An instance that is gone counts until its
        certificate ends. Cached for each subject until `version` changes.
        Raises `Refused` (DIRECTORY_STALE) where `when_stale` is "refuse" and no head is fresh.
        """
        _ = self.version  # brings the cache up to the present
        if self._settings.when_stale is WhenStale.REFUSE and not self.fresh:
            raise Refused(Reason.DIRECTORY_STALE, "no fresh directory head: no reader is certain")
        found = self._cache.get(subject)
        if found is None:
            chosen = (self._reader(instances, subject) for instances in self._live)
            found = tuple(one for one in chosen if one is not None)
            if len(self._cache) >= _MAX_CACHED_SUBJECTS:
                self._cache.clear()
            self._cache[subject] = found
        return found

    def instances(self, service: str) -> list[Certificate]:
        """The live certificate of each instance of a service (SPIFFE id), newest generation first."""
        _ = self.version
        return next((list(group) for group in self._live if group[0].service == service), [])

    def known(self, certificate_id: CertificateId) -> bool:
        """Whether the certificate is held, ended and revoked ones included."""
        return certificate_id in self._records

    def history(self, service: str) -> list[Certificate]:
        """Every certificate held of a service (SPIFFE id), ended and revoked ones included."""
        records = (record.certificate for record in self._records.values())
        return [one for one in records if one.service == service]

    def require_version(self, version: int) -> None:
        """Refuse heads below this version: the newest that was ever accepted on this machine."""
        self._floor = max(self._floor, version)

    def add(self, certificate: Certificate, *, vouched: bool = False) -> None:
        """Take in a verified certificate. `vouched` says that a fresh head was held with it earlier (disk cache)."""
        if certificate.id in self._records:
            return
        record = _Record(certificate, vouched or self.fresh, certificate.not_after_ms)
        self._records[certificate.id] = record
        place = self._places.setdefault((certificate.service, certificate.instance), [])
        place.append(record)
        place.sort(key=lambda one: one.certificate.not_before_ms)
        for older, newer in pairwise(place):
            if not _covers(newer.certificate.publish, older.certificate.publish):
                older.ends_ms = min(older.ends_ms, newer.certificate.not_before_ms)
        self._valid_until_ms = 0

    def check(self, head: Head) -> bool:
        """Whether a verified head is news; False for the one already held.

        Raises `Refused`: DIRECTORY_STALE for a version below the newest seen (rollback), MALFORMED for a second head
        of one version, CLOCK_SKEW for one from the future.
        """
        if head.issued_ms > self._clock.now_ms() + self._settings.skew_ms:
            raise Refused(Reason.CLOCK_SKEW, f"directory head {head.version} is from the future")
        if head.version < self._floor:
            raise Refused(
                Reason.DIRECTORY_STALE,
                f"directory head {head.version} is older than {self._floor}, which was seen before",
            )
        if self._head is None or head.version > self._head.version:
            return True
        if head.digest != self._head.digest:
            raise Refused(Reason.MALFORMED, f"a second directory head of version {head.version}")
        return False

    def accept(self, head: Head) -> None:
        """Take over a verified head; raises as `check`. One that has expired informs, but vouches for nothing."""
        if not self.check(head):
            return
        self._head = head
        self._floor = head.version
        self._valid_until_ms = 0
        if self.fresh:
            for record in self._records.values():
                record.vouched = True

    def vouched(self, certificate_id: CertificateId) -> bool:
        """Whether a fresh head was held while this certificate was known."""
        record = self._records.get(certificate_id)
        return record is not None and record.vouched

    def forget(self, before_ms: int) -> list[CertificateId]:
        """Drop certificates that ended before `before_ms` and return their ids."""
        gone = [
            i for i, record in self._records.items() if record.certificate.not_after_ms < before_ms
        ]
        for one in gone:
            record = self._records.pop(one)
            place = self._places[record.certificate.service, record.certificate.instance]
            place.remove(record)
        self._places = {key: place for key, place in self._places.items() if place}
        return gone

    def _usable_while_stale(self, record: _Record) -> bool:
        ended = self._clock.now_ms() > record.certificate.not_after_ms + self._settings.skew_ms
        return self._settings.when_stale is WhenStale.KNOWN_SIGNERS and record.vouched and not ended

    @staticmethod
    def _reader(instances: list[Certificate], subject: str) -> Certificate | None:
        for one in instances:
            if any(matches(pattern, subject) for pattern in one.subscribe):
                return one
        return None

    def _refresh(self, now: int) -> None:
        newest = [place[-1] for place in self._places.values()]
        live = [record.certificate for record in newest if self._is_live(record, now)]
        moments = [one.not_after_ms for one in live]
        moments += [r.certificate.not_before_ms - self._settings.skew_ms for r in newest]
        if self._head is not None:
            moments.append(self._head.expires_ms)
        self._valid_from_ms = now
        self._valid_until_ms = min((m for m in moments if m > now), default=_NEVER_MS)
        live.sort(key=lambda one: (one.service, -one.kem_generation, -one.not_before_ms, one.id))
        answer = (self.fresh, tuple(one.id for one in live))
        if answer == self._answer:
            return
        self._answer = answer
        self._version += 1
        self._cache.clear()
        services: dict[str, list[Certificate]] = {}
        for one in live:
            services.setdefault(one.service, []).append(one)
        self._live = list(services.values())

    def _is_live(self, record: _Record, now: int) -> bool:
        head, one = self._head, record.certificate
        if head is None or one.id in head.revoked:
            return False
        if not one.not_before_ms - self._settings.skew_ms <= now < one.not_after_ms:
            return False
        # A certificate that the head leaves out though it is older was replaced: its successor is being withheld.
        if one.id not in head.live and one.not_before_ms < head.issued_ms:
            return False
        return record.vouched


def _who(certificate: Certificate) -> str:
    return f"certificate {certificate.id.hex()} of {certificate.service}"


def _covers(patterns: tuple[str, ...], narrower: tuple[str, ...]) -> bool:
    return all(any(matches(wide, one) for wide in patterns) for one in narrower)


__all__ = ["CertificateDirectory"]
