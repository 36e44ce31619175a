"""Services that know nothing of medmesh: found by asking everybody (`$SRV.PING`, ADR-32), listed for operators.

Their answers are not signed and they have no subject of their own to be asked on. So they appear in
`Registry.services`, never in `Registry.instances`: calls reach them through the queue group alone, which is what a
caller falls back to when no signed instance is listed.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Final

from bus.services.discovery.entries import Key
from bus.services.discovery.settings import DiscoverySettings
from bus.services.discovery.table import Changes
from bus.services.protocol import Health, Instance, Seen
from bus.transport.protocol import Incoming, Messenger, Subscription
from schemas import subjects
from schemas.subjects import SiteId

PROTOCOL: Final = "nats-micro"
NO_ANSWER: Final = "no_answer"
_PING: Final = "$SRV.PING"
_ANSWER: Final = "io.nats.micro.v1.ping_response"
_MOST_BYTES: Final = 16 * 1024
_MISSED: Final = 2.5
_NAME: Final = re.compile(
    r"[A-Za-z0-9_-]{1,64}\Z"
)  # ADR-32's grammar of names; ids are as free as that
_VERSION: Final = re.compile(r"(?:0|[1-9][0-9]{0,5})\.[0-9A-Za-z.+-]{1,80}\Z")
_MOST_ITEMS: Final = 64
_MOST_TEXT: Final = 512


@dataclass(frozen=True, slots=True)
class _Listed:
    seen: Seen
    until_s: float


class Stock:
    """The stock services that answered, for as long as they go on to. Pure."""

    def __init__(self, settings: DiscoverySettings, *, site: str) -> None:
        self._settings = settings
        self._site = site
        self._listed: dict[Key, _Listed] = {}

    def answered(self, payload: bytes, now_s: float, signed: Container[Key]) -> Changes:
        """One answer to a sweep; those in `signed` are known better than it says."""
        instance = ping_answer(payload, site=self._site)
        if instance is None:
            return ()
        key = (instance.service, instance.id)
        if key in signed:
            self._listed.pop(key, None)
            return ()
        is_new = key not in self._listed
        if is_new and len(self._listed) >= self._settings.max_instances:
            return ()
        seen = Seen(instance=instance, heard_s=now_s)
        self._listed[key] = _Listed(seen, now_s + _MISSED * self._settings.sweep_s)
        return (seen,) if is_new else ()

    def tick(self, now_s: float) -> Changes:
        """Those that stopped to answer are gone."""
        over = [key for key, listed in self._listed.items() if now_s >= listed.until_s]
        return tuple(self._gone(self._listed.pop(key).seen) for key in over)

    def all(self) -> list[Seen]:
        """Everyone who answered."""
        return [listed.seen for listed in self._listed.values()]

    @staticmethod
    def _gone(seen: Seen) -> Seen:
        return Seen(
            instance=seen.instance, health=Health.GONE, reason=NO_ANSWER, heard_s=seen.heard_s
        )


def ping_answer(payload: bytes, *, site: str) -> Instance | None:
    """The service that sent an answer to `$SRV.PING`; None for anything that is none."""
    if len(payload) > _MOST_BYTES:
        return None
    try:
        answer = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict) or answer.get("type") != _ANSWER:
        return None
    name, identifier, version = (answer.get(key) for key in ("name", "id", "version"))
    if not (_matches(_NAME, name) and _matches(_NAME, identifier) and _matches(_VERSION, version)):
        return None
    return Instance(
        service=str(name),
        id=str(identifier),
        version=str(version),
        site=site,
        protocols=(PROTOCOL,),
        metadata=_metadata(answer.get("metadata")),
    )


def _matches(form: re.Pattern[str], text: object) -> bool:
    return isinstance(text, str) and form.match(text) is not None


def _metadata(found: object) -> dict[str, str]:
    if not isinstance(found, dict) or len(found) > _MOST_ITEMS:
        return {}
    return {
        key: text
        for key, text in found.items()
        if isinstance(text, str) and max(len(key), len(text)) <= _MOST_TEXT
    }


class Sweep:
    """One question to everybody; `close` when its answers have come."""

    def __init__(self, messenger: Messenger, *, site: SiteId) -> None:
        self._messenger = messenger
        self._reply = subjects.sweep(site, secrets.token_hex(8))
        self._answers: Subscription | None = None

    async def ask(self, answered: Callable[[bytes], None]) -> None:
        """Ask; `answered` is called with each answer. Raises `PermissionRefused`, `Unavailable`."""

        def arrived(message: Incoming) -> None:
            answered(message.payload)

        self._answers = await self._messenger.subscribe(self._reply, arrived)
        await self._messenger.publish(_PING, b"", reply=self._reply)

    async def close(self) -> None:
        """Stop to listen."""
        if self._answers is not None:
            await self._answers.close()
            self._answers = None


__all__ = ["NO_ANSWER", "PROTOCOL", "Stock", "Sweep", "ping_answer"]
