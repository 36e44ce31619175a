"""Logs are events with fields. Fields that are not on the list of safe keys never leave the process as they are.

The list is closed because a hospital's log is read by many: `patient=...` slipped into a call must cost nothing worse
than an unreadable hash.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TextIO, cast

import structlog

from bus.telemetry.failures import failure_fields

SAFE_KEYS: Final = frozenset(
    {
        "ack_code", "adapter", "attempt", "attempts", "bucket", "bytes", "certificate", "code", "component",
        "condition", "connections", "consumer", "count", "delay_s", "duration_s", "durability", "epoch", "error_code",
        "error_type", "event", "failures", "file_count", "generation", "instance", "kind", "lane", "lanes", "level",
        "limit", "limit_s", "link", "listen", "logger", "max_bytes", "mesh", "message_id", "messages", "outcome",
        "partition", "peer", "pending", "pid", "port", "rate", "reason", "replicas", "retry_s", "role",
        "seconds", "seq", "server", "service", "setting", "signal", "site", "state", "status", "stream",
        "subject", "suite", "timeout_s", "timestamp", "unit", "version", "waited_s", "where",
    }
)  # fmt: skip
"""Keys whose values are our own names, codes, counts, subjects and times: none of them can hold patient data."""

_EVENT_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_SAFE_TEXT: Final = re.compile(r"[A-Za-z0-9_.:/<>*@+-]{0,1024}\Z")
_HASH_BYTES: Final = 6


class Logger(Protocol):
    """What our modules log with: an event's name in the past tense and fields."""

    def debug(self, event: str, **fields: object) -> None:
        """Log for whoever hunts a fault."""
        ...

    def info(self, event: str, **fields: object) -> None:
        """Log what an operator may want to know later."""
        ...

    def warning(self, event: str, **fields: object) -> None:
        """Log what an operator should look at."""
        ...

    def error(self, event: str, **fields: object) -> None:
        """Log what an operator must look at."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """Which fields pass, and what becomes of the others."""

    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    """Secret under which unsafe values are hashed: equal values look equal, and nobody can guess them. Give the site's
    key to compare logs of several runs; by default each process has its own."""
    keep_hashes: bool = True
    """False drops unsafe fields altogether."""

    def __call__(
        self, _: object, __: str, event: MutableMapping[str, object]
    ) -> MutableMapping[str, object]:
        """Structlog's processor: replace what is not safe."""
        fields = _without_exception(event)
        return dict(self._pass(key, value) for key, value in fields.items() if self._wanted(key))

    def _wanted(self, key: str) -> bool:
        return key in SAFE_KEYS or (self.keep_hashes and bool(_EVENT_NAME.match(key)))

    def _pass(self, key: str, value: object) -> tuple[str, object]:
        if key == "event":
            name = str(value)
            return key, name if _EVENT_NAME.match(name) else self._hash(value)
        return key, self._safe(value) if key in SAFE_KEYS else self._hash(value)

    def _safe(self, value: object) -> object:
        match value:
            case None | bool() | int() | float():
                return value
            case str() if _SAFE_TEXT.match(value):
                return value
            case list() | tuple():
                return [self._safe(one) for one in value]
            case _:
                return self._hash(value)

    def _hash(self, value: object) -> str:
        digest = hmac.digest(self.key, repr(value).encode(), hashlib.sha256)
        return f"hashed:{digest[:_HASH_BYTES].hex()}"


def _without_exception(event: MutableMapping[str, object]) -> Mapping[str, object]:
    """Replace an exception by its type, code and place: its text may hold anything."""
    found = event.pop("exc_info", None)
    event.pop("stack_info", None)
    if found is True:
        found = sys.exc_info()[1]
    if isinstance(found, tuple):
        found = found[1]
    if isinstance(found, BaseException):
        return {**event, **failure_fields(found)}
    return event


def logger(name: str) -> Logger:
    """The logger of a module. Until logging is configured, warnings go to standard error, redacted all the same."""
    if not structlog.is_configured():
        configure_logging(json=False, level="warning")
    return cast("Logger", structlog.get_logger(component=name))


def configure_logging(
    *,
    json: bool,
    level: str = "info",
    stream: TextIO | None = None,
    redaction: Redaction | None = None,
) -> None:
    """Send every log event to `stream` (standard error by default), as JSON lines or for a person to read.

    Raises `ValueError` for a level that does not exist.
    """
    try:
        threshold = logging.getLevelNamesMapping()[level.upper()]
    except KeyError:
        raise ValueError(
            f"log level {level!r} is not known: debug, info, warning or error"
        ) from None
    colors = (stream or sys.stderr).isatty()
    renderer = (
        structlog.processors.JSONRenderer(sort_keys=True)
        if json
        else structlog.dev.ConsoleRenderer(colors=colors)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            redaction or Redaction(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: structlog.PrintLogger(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )


__all__ = ["SAFE_KEYS", "Logger", "Redaction", "configure_logging", "logger"]
