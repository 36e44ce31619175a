"""Access records and their bytes: JSON, many a message, within an envelope that only auditors can open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from bus.bodies import UnreadableContent

RECORDS_TYPE: Final = "medmesh/access-records"
_MAX_TEXT: Final = 1024
_MAX_DETAILS: Final = 16
_SHOWN: Final = ("at_ms", "client", "proof", "deed", "allowed", "status", "purpose")


class AccessEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One deed of one client. Everything about it is protected data."""

    at_ms: int
    client: str
    proof: str
    """How the client proved who it is."""
    deed: str
    what: str
    allowed: bool = True
    status: int = 0
    user: str = ""
    purpose: str = ""
    remote: str = ""
    details: Mapping[str, str] = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:
        """Neither of whom it tells, nor from where."""
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in _SHOWN)
        return f"AccessEntry({shown})"


class _Batch(msgspec.Struct, frozen=True):
    records: tuple[AccessEntry, ...]
    version: int = 1


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(_Batch)


def bounded(entry: AccessEntry) -> AccessEntry:
    """The entry with its texts cut to what a record holds: a long request must not fill the log."""
    if _is_short(entry):
        return entry
    details = {
        key[:_MAX_TEXT]: value[:_MAX_TEXT]
        for key, value in list(entry.details.items())[:_MAX_DETAILS]
    }
    return AccessEntry(
        at_ms=entry.at_ms,
        client=entry.client[:_MAX_TEXT],
        proof=entry.proof,
        deed=entry.deed,
        what=entry.what[:_MAX_TEXT],
        allowed=entry.allowed,
        status=entry.status,
        user=entry.user[:_MAX_TEXT],
        purpose=entry.purpose[:_MAX_TEXT],
        remote=entry.remote[:_MAX_TEXT],
        details=details,
    )


def _is_short(entry: AccessEntry) -> bool:
    """Whether it holds so little that nothing of it can be too long: nearly every one does."""
    details = entry.details
    if len(details) > _MAX_DETAILS:
        return False
    chars = len(entry.what) + len(entry.client) + len(entry.user)
    chars += len(entry.purpose) + len(entry.remote)
    for key in details:
        chars += len(key) + len(details[key])
    return chars <= _MAX_TEXT


def encode(entries: Sequence[AccessEntry]) -> bytes:
    """The body of one message."""
    return _ENCODER.encode(_Batch(tuple(entries)))


def decode(body: bytes) -> tuple[AccessEntry, ...]:
    """What a message holds. Raises `UnreadableContent`."""
    try:
        batch = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UnreadableContent("the access records cannot be parsed") from None
    if batch.version != 1:
        raise UnreadableContent(f"access records of version {batch.version} are not known here")
    return batch.records


__all__ = ["RECORDS_TYPE", "AccessEntry", "bounded", "decode", "encode"]
