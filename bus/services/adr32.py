"""The answers of ADR-32 (NATS services API): `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS`, as JSON. Pure.

Existing tools (`nats micro ls`, `info`, `stats`) see a service of ours by them. They hold names and counts only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from bus.services.protocol import Instance, Load, Method, Offer
from bus.services.stats import MethodStats
from schemas import subjects
from schemas.errors import ConfigurationError
from schemas.subjects import SiteId

PREFIX: Final = "$SRV"
PING: Final = "PING"
INFO: Final = "INFO"
STATS: Final = "STATS"
VERBS: Final = (PING, INFO, STATS)

# semver.org's own definition, as ADR-32 asks
_SEMVER: Final = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-((0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(\+([0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*))?\Z",
    re.ASCII,
)


def check_version(version: str) -> str:
    """A semantic version, as ADR-32 wants it. Raises `ConfigurationError`."""
    if not _SEMVER.match(version):
        raise ConfigurationError(f"version {version!r} is not a semantic version such as 1.2.0")
    return version


def control_subjects(name: str, instance: str) -> tuple[str, ...]:
    """The nine subjects on which one instance is asked."""
    return tuple(
        ".".join((PREFIX, verb, *rest))
        for verb in VERBS
        for rest in ((), (name,), (name, instance))
    )


def verb_of(subject: str) -> str:
    """`PING`, `INFO` or `STATS`; empty for anything else."""
    parts = subject.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == PREFIX and parts[1] in VERBS else ""


def ping(instance: Instance) -> bytes:
    """`io.nats.micro.v1.ping_response`."""
    return _json(_identity(instance, "ping"))


def info(instance: Instance, offer: Offer) -> bytes:
    """`io.nats.micro.v1.info_response`: every method with its subject, queue group and types."""
    return _json(
        _identity(instance, "info")
        | {
            "description": offer.description,
            "endpoints": [
                _endpoint(instance, method)
                | {"metadata": {**_types(method), "idempotent": _flag(method.is_idempotent)}}
                for method in offer.methods
            ],
        }
    )


def stats(
    instance: Instance, offer: Offer, counted: Mapping[str, MethodStats], load: Load
) -> bytes:
    """`io.nats.micro.v1.stats_response`: per method the counts since the start; `data` adds shedding and load."""
    return _json(
        _identity(instance, "stats")
        | {
            "started": datetime.fromtimestamp(instance.started_ms / 1000, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "endpoints": [
                _endpoint(instance, method) | _counts(counted[method.name], load)
                for method in offer.methods
            ],
        }
    )


def metadata_of(instance: Instance) -> dict[str, str]:
    """What is said of an instance besides name and version; all values are text, as ADR-32 wants."""
    known = {
        "site": instance.site,
        "zone": instance.zone,
        "protocols": ",".join(instance.protocols),
        "weight": str(instance.weight),
        "connection": instance.connection,
    }
    return {**instance.metadata, **{key: value for key, value in known.items() if value}}


def _identity(instance: Instance, kind: str) -> dict[str, object]:
    return {
        "type": f"io.nats.micro.v1.{kind}_response",
        "name": instance.service,
        "id": instance.id,
        "version": instance.version,
        "metadata": metadata_of(instance),
    }


def _endpoint(instance: Instance, method: Method) -> dict[str, object]:
    site = SiteId(instance.site)
    return {
        "name": method.name,
        "subject": subjects.call(site, instance.service, instance.major, method.name),
        "queue_group": subjects.queue_group(instance.service),
    }


def _types(method: Method) -> dict[str, str]:
    pairs: Iterable[tuple[str, str]] = (
        ("request_type", method.request_type),
        ("response_type", method.response_type),
        ("request_schema", method.request_schema),
        ("response_schema", method.response_schema),
    )
    return {key: value for key, value in pairs if value}


def _counts(counted: MethodStats, load: Load) -> dict[str, object]:
    return {
        "num_requests": counted.requests,
        "num_errors": counted.errors,
        "last_error": counted.last_error,
        "processing_time": counted.processing_ns,
        "average_processing_time": counted.average_ns,
        "data": {
            "shed": counted.shed,
            "in_work": counted.in_work,
            "p99_ns": counted.p99_ns,
            "in_flight": load.in_flight,
            "limit": load.limit,
            "oldest_ms": round(load.oldest_s * 1000),
        },
    }


def _flag(is_so: bool) -> str:
    return "true" if is_so else "false"


def _json(answer: Mapping[str, object]) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()


__all__ = [
    "INFO",
    "PING",
    "PREFIX",
    "STATS",
    "VERBS",
    "check_version",
    "control_subjects",
    "info",
    "metadata_of",
    "ping",
    "stats",
    "verb_of",
]
