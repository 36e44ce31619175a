"""The KEM keys of one service on this machine, by generation: made, taken over, and destroyed after retention.

A destroyed generation closes every message that was sealed for it: retention plus one day is the horizon of forward
secrecy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Final

from bus.envelope.suites import SECRET_BYTES, KemKey
from bus.trust.errors import KeyMissing, KeystoreDamaged
from bus.trust.keystore import Keystore
from bus.trust.settings import TrustSettings
from schemas.clock import Clock

_TIME_BYTES: Final = 8
_STORED_BYTES: Final = 1 + _TIME_BYTES + SECRET_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One KEM key of a service."""

    number: int
    created_ms: int
    key: KemKey = field(repr=False)


class Generations:
    """The generations that this machine holds. Several processes with the same keystore see each other's."""

    def __init__(
        self, store: Keystore, service: str, *, clock: Clock, settings: TrustSettings
    ) -> None:
        self._store = store
        self._folder = f"services/{service}/kem"
        self._clock = clock
        self._settings = settings
        self._held: dict[int, Generation] = {}
        self._keys: dict[bytes, KemKey] = {}
        self.keys: Mapping[bytes, KemKey] = MappingProxyType(self._keys)
        """Live view: key id to key, of every generation held."""

    def held(self) -> list[Generation]:
        """All generations in memory, oldest first."""
        return [self._held[number] for number in sorted(self._held)]

    @property
    def newest(self) -> Generation | None:
        """The generation with the highest number."""
        return self._held[max(self._held)] if self._held else None

    def is_due(self) -> bool:
        """Whether the newest generation is old enough for a next one."""
        newest = self.newest
        age_ms = self._clock.now_ms() - newest.created_ms if newest is not None else 0
        return newest is None or age_ms >= self._settings.generation_s * 1000

    def reload(self) -> None:
        """Take in what other processes made on disk, and let go of what they destroyed."""
        names = {int(name.rpartition("/")[2]): name for name in self._store.names(self._folder)}
        for number in self._held.keys() - names.keys():
            self._forget(number)
        for number in names.keys() - self._held.keys():
            try:
                raw = self._store.read(names[number])
            except KeyMissing:
                continue  # destroyed by another process just now
            self._remember(self._parse(number, raw))

    def create(self, number: int) -> Generation:
        """Make the generation `number`, or take the one that another process on this machine has just made."""
        return self.adopt(number, KemKey.generate(self._settings.suite).seed, self._clock.now_ms())

    def adopt(self, number: int, seed: bytes, created_ms: int) -> Generation:
        """Keep a seed as generation `number`; one that is held already stays."""
        with self._store.lock(self._folder):
            self.reload()
            if number not in self._held:
                suite = bytes((self._settings.suite,))
                name = f"{self._folder}/{number}"
                self._store.write(name, suite + created_ms.to_bytes(_TIME_BYTES, "big") + seed)
                self._remember(self._parse(number, self._store.read(name)))
        return self._held[number]

    def discard(self, number: int) -> None:
        """Destroy a generation that was never certified."""
        self._destroy(number)

    def destroy_old(self, *, waiting_since_ms: int | None) -> list[int]:
        """Destroy, on disk and in memory, generations out of use for retention and margin; returns their numbers.

        `waiting_since_ms`: when the oldest message that a stream still holds for this service was sealed. A generation
        that could open it stays, however old it is.
        """
        now, margin_ms = self._clock.now_ms(), round(self._settings.margin_s * 1000)
        held = self.held()
        old: list[int] = []
        for one, following in pairwise(held):
            unused_since = following.created_ms
            needed = waiting_since_ms is not None and waiting_since_ms < unused_since + margin_ms
            if now >= unused_since + self._settings.history_ms and not needed:
                old.append(one.number)
        for number in old:
            self._destroy(number)
        return old

    def _destroy(self, number: int) -> None:
        with self._store.lock(self._folder):
            self._store.destroy(f"{self._folder}/{number}")
        self._forget(number)

    def _remember(self, one: Generation) -> None:
        self._held[one.number] = one
        self._keys[one.key.id] = one.key

    def _forget(self, number: int) -> None:
        gone = self._held.pop(number, None)
        if gone is not None:
            del self._keys[gone.key.id]

    def _parse(self, number: int, raw: bytes) -> Generation:
        if len(raw) != _STORED_BYTES:
            raise KeystoreDamaged(f"{self._folder}/{number} has {len(raw)} bytes")
        created_ms = int.from_bytes(raw[1 : 1 + _TIME_BYTES], "big")
        key = KemKey.from_seed(raw[0], raw[1 + _TIME_BYTES :])
        return Generation(number=number, created_ms=created_ms, key=key)


__all__ = ["Generation", "Generations"]
