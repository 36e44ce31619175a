"""Bundles as bytes: each resource in them byte for byte as it is stored. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import orjson

from adapters.fhir.store.refusals import Issue, operation_outcome
from adapters.fhir.store.repository import Version
from adapters.fhir.store.times import instant

_SAFE: Final = ":/|,-._~*"
_METHODS: Final = {"POST": "201", "DELETE": "204"}


@dataclass(frozen=True, slots=True)
class Shown:
    """One entry of a searchset."""

    version: Version
    mode: str
    """`match` or `include`."""
    body: bytes


def searchset(
    shown: Iterable[Shown],
    *,
    base: str,
    total: int,
    links: Sequence[tuple[str, str]],
    warnings: Sequence[Issue] = (),
) -> bytes:
    """The answer to a search; warnings travel in an OperationOutcome entry."""
    entries = [
        b'{"fullUrl":%s,"resource":%s,"search":{"mode":"%s"}}'
        % (_text(address(base, one.version)), one.body, one.mode.encode())
        for one in shown
    ]
    if warnings:
        entries.append(b'{"resource":%s,"search":{"mode":"outcome"}}' % operation_outcome(warnings))
    return _bundle("searchset", entries, total=total, links=links)


def history(
    versions: Iterable[Version], *, base: str, total: int, links: Sequence[tuple[str, str]]
) -> bytes:
    """The answer to a history: newest first."""
    return _bundle("history", [_past(base, one) for one in versions], total=total, links=links)


def _past(base: str, version: Version) -> bytes:
    is_first = version.method == "POST"
    path = version.resource_type if is_first else f"{version.resource_type}/{version.id}"
    request = {"method": version.method, "url": path}
    status = _METHODS.get(version.method) or ("201" if version.version == 1 else "200")
    response = {
        "status": status,
        "etag": f'W/"{version.version}"',
        "lastModified": instant(version.updated_ms),
    }
    resource = b"" if version.is_deleted else b'"resource":%s,' % version.body
    return b'{"fullUrl":%s,%s"request":%s,"response":%s}' % (
        _text(address(base, version)),
        resource,
        orjson.dumps(request),
        orjson.dumps(response),
    )


def responses(entries: Iterable[bytes]) -> bytes:
    """The answer to a transaction."""
    return _bundle("transaction-response", list(entries), total=-1, links=())


def response_entry(
    status: str, version: Version | None, *, base: str, body: bytes = b"", outcome: bytes = b""
) -> bytes:
    """One entry of it. `version`: what was changed or read, for location, etag and lastModified."""
    response: dict[str, object] = {"status": status}
    head = b""
    if version is not None:
        response["location"] = f"{address(base, version)}/_history/{version.version}"
        response["etag"] = f'W/"{version.version}"'
        response["lastModified"] = instant(version.updated_ms)
        head = b'"fullUrl":%s,' % _text(address(base, version))
    if outcome:
        response["outcome"] = orjson.Fragment(outcome)
    resource = b'"resource":%s,' % body if body else b""
    return b'{%s%s"response":%s}' % (head, resource, orjson.dumps(response))


def _bundle(
    kind: str, entries: Sequence[bytes], *, total: int, links: Sequence[tuple[str, str]]
) -> bytes:
    parts = [b'{"resourceType":"Bundle","type":"%s"' % kind.encode()]
    if total >= 0:
        parts.append(b',"total":%d' % total)
    if links:
        listed = [{"relation": relation, "url": url} for relation, url in links]
        parts.append(b',"link":' + orjson.dumps(listed))
    if entries:
        parts += (b',"entry":[', b",".join(entries), b"]")
    parts.append(b"}")
    return b"".join(parts)


def address(base: str, version: Version) -> str:
    """Where a resource is, without its version."""
    path = f"{version.resource_type}/{version.id}"
    return f"{base}/{path}" if base else path


def link(base: str, path: str, pairs: Iterable[tuple[str, str]]) -> str:
    """An address with parameters."""
    query = "&".join(
        f"{quote(name, safe=_SAFE)}={quote(value, safe=_SAFE)}" for name, value in pairs
    )
    place = "/".join(part for part in (base, path) if part)
    return f"{place}?{query}" if query else place


def _text(text: str) -> bytes:
    return orjson.dumps(text)


__all__ = ["Shown", "address", "history", "link", "response_entry", "responses", "searchset"]
