"""Header blocks (NATS ADR-4): encoded once, decoded only when somebody looks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from schemas.errors import SubjectError

VERSION: Final = b"NATS/1.0"
_FIRST: Final = VERSION + b"\r\n"
_LAST: Final = b"\r\n"
_STATUS: Final = VERSION + b" "
_NO_RESPONDERS: Final = VERSION + b" 503"
_KEY: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NEWLINES: Final = str.maketrans({"\r": " ", "\n": " "})
_KNOWN_KEYS: Final = 1024

_last: dict[str, tuple[str, bytes]] = {}
"""By key its last value and that line: most headers say the same on every message."""


class Headers(Mapping[str, str]):
    """The headers of one message as they came. Of a repeated key the last value counts.

    A status of the server (`NATS/1.0 503 No Responders`) is found under `Status` and `Description`.
    """

    __slots__ = ("_fields", "block")

    def __init__(self, block: bytes) -> None:
        self.block: Final = block
        self._fields: dict[str, str] | None = None

    def _decoded(self) -> dict[str, str]:
        if self._fields is None:
            self._fields = decode(self.block)
        return self._fields

    def __getitem__(self, key: str) -> str:
        return self._decoded()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._decoded())

    def __len__(self) -> int:
        return len(self._decoded())

    def __repr__(self) -> str:
        return f"Headers({self._decoded()!r})"


def decode(block: bytes) -> dict[str, str]:
    """The fields of a block. What is no header line is passed over, as nats-py does."""
    first, _, rest = block.partition(b"\r\n")
    fields: dict[str, str] = {}
    if first.startswith(_STATUS):
        status, _, text = first[len(_STATUS) :].partition(b" ")
        fields["Status"] = status.decode("ascii", "replace")
        if text:
            fields["Description"] = text.decode("utf-8", "replace")
    for line in rest.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        key = name.strip()
        if colon and key.isascii() and len(key.split()) == 1:
            fields[key.decode("ascii")] = value.strip().decode("utf-8", "replace")
    return fields


def encode(headers: Mapping[str, str]) -> bytes:
    """The block of some headers. A line break inside a value becomes a space.

    Raises `SubjectError` for a key that is no token.
    """
    if type(headers) is Headers and headers.block.startswith(_FIRST):
        return headers.block
    return block(lines(headers))


def block(body: bytes) -> bytes:
    """The block around header lines."""
    return b"%b%b%b" % (_FIRST, body, _LAST)


def lines(headers: Mapping[str, str]) -> bytes:
    """Header lines, each with its end, as `encode` has them."""
    parts = []
    for key, value in headers.items():
        last = _last.get(key)
        parts.append(last[1] if last is not None and last[0] == value else _line(key, value))
    return b"".join(parts)


def _line(key: str, value: str) -> bytes:
    last = _last.get(key)
    name = key.strip()
    if last is None and not _KEY.fullmatch(name):
        raise SubjectError(f"{key!r} cannot be the name of a header")
    plain = value.translate(_NEWLINES) if "\n" in value or "\r" in value else value
    made = f"{name}: {plain}\r\n".encode()
    if last is not None or len(_last) < _KNOWN_KEYS:
        _last[key] = (value, made)
    return made


def message_id(value: str) -> bytes:
    """The line by which a stream knows a message again."""
    if "\n" in value or "\r" in value:
        value = value.translate(_NEWLINES)
    return b"Nats-Msg-Id: %b\r\n" % value.encode()


def with_status(headers: Mapping[str, str]) -> bytes:
    """The block of headers in which nats-py has put the server's status among the fields."""
    fields = dict(headers)
    status, text = fields.pop("Status", ""), fields.pop("Description", "")
    if not status:
        return encode(dict(headers))
    first = f"{status} {text}".strip().translate(_NEWLINES).encode()
    return b"%b%b\r\n%b\r\n" % (_STATUS, first, lines(fields))


def says_no_responders(block: bytes | None, payload: bytes) -> bool:
    """Whether a message is the server's word that nobody listens."""
    return not payload and block is not None and block.startswith(_NO_RESPONDERS)


__all__ = [
    "Headers",
    "block",
    "decode",
    "encode",
    "lines",
    "message_id",
    "says_no_responders",
    "with_status",
]
