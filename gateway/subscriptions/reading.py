"""From a Subscription to what it asks for: R5, and R4 and R4B by the Subscriptions R5 Backport IG. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from adapters.fhir.store.refusals import Refusal
from adapters.fhir.store.times import span_of
from gateway.subscriptions.filters import query_pairs
from gateway.subscriptions.model import (
    CONTENTS,
    EMPTY,
    FULL,
    REST_HOOK,
    WEBSOCKET,
    Filter,
    Wish,
)

BACKPORT: Final = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
MASK: Final = "***"
"""What stands for the value of a header in every answer; sent back, it keeps the value that is known."""
_HEADER: Final = re.compile(
    r"(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}): ?(?P<value>[\x20-\x7e]{0,4096})\Z"
)
_OWN: Final = frozenset(
    {
        "host", "content-length", "content-type", "transfer-encoding", "connection", "te", "upgrade", "trailer",
        "expect", "proxy-authorization", "proxy-connection", "keep-alive",
    }
)  # fmt: skip
_JSON: Final = ("", "application/fhir+json", "application/json")
_CLASSIC: Final = re.compile(r"[A-Z][A-Za-z]{1,63}(\?|\Z)")
_MAX_HEADERS: Final = 20
_WISHED: Final = ("requested", "active", "off")


def read_wish(release: str, body: bytes) -> Wish:
    """What a Subscription asks for. Raises `Refusal` (400, 422) that names the element."""
    try:
        resource = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refusal(400, "structure", "the body is no JSON") from None
    if not isinstance(resource, dict) or resource.get("resourceType") != "Subscription":
        raise Refusal(400, "structure", "the body is no Subscription")
    try:
        wish = _read_r5(resource) if release == "R5" else _read_r4(resource)
    except (AttributeError, TypeError, KeyError):
        raise Refusal(
            400, "structure", "an element is not what FHIR says", expression="Subscription"
        ) from None
    return wish


def _read_r5(resource: Mapping[str, Any]) -> Wish:
    channel = resource.get("channelType", {}).get("code", "")
    headers = tuple(
        _header(f"{one.get('name', '')}: {one.get('value', '')}", "Subscription.parameter")
        for one in resource.get("parameter", [])
    )
    return Wish(
        topic=_required(resource, "topic"),
        channel=_channel(channel, "Subscription.channelType"),
        endpoint=_endpoint(resource, channel, "Subscription.endpoint"),
        headers=_few(headers),
        content=_content(resource.get("content", EMPTY), "Subscription.content"),
        heartbeat_s=_count(resource, "heartbeatPeriod"),
        timeout_s=_count(resource, "timeout"),
        max_count=_count(resource, "maxCount"),
        filters=tuple(_r5_filter(one) for one in resource.get("filterBy", [])),
        end_ms=_end(resource),
        is_off=_is_off(resource, resource.get("contentType", "")),
    )


def _r5_filter(one: Mapping[str, Any]) -> Filter:
    name, value = one.get("filterParameter"), one.get("value")
    if not isinstance(name, str) or not isinstance(value, str):
        raise _wrong("required", "a filter has filterParameter and value", "Subscription.filterBy")
    modifier, comparator = one.get("modifier", ""), one.get("comparator", "")
    return Filter(
        name=f"{name}:{modifier}" if modifier else name,
        value=f"{comparator}{value}",
        resource_type=str(one.get("resourceType", "")).rpartition("/")[2],
    )


def _read_r4(resource: Mapping[str, Any]) -> Wish:
    topic = _required(resource, "criteria")
    if _CLASSIC.match(topic):
        words = "criteria is a topic here (Subscriptions R5 Backport IG); a search is a filter in its extension"
        raise _wrong("not-supported", words, "Subscription.criteria")
    channel = resource.get("channel", {})
    kind = channel.get("type", "")
    content = list(_extended(channel.get("_payload", {}), "backport-payload-content", "valueCode"))
    headers = tuple(
        _header(one, "Subscription.channel.header") for one in channel.get("header", [])
    )
    queries = _extended(resource.get("_criteria", {}), "backport-filter-criteria", "valueString")
    return Wish(
        topic=topic,
        channel=_channel(kind, "Subscription.channel.type"),
        endpoint=_endpoint(channel, kind, "Subscription.channel.endpoint"),
        headers=_few(headers),
        content=_content(
            content[0] if content else FULL if channel.get("payload") else EMPTY,
            "Subscription.channel.payload",
        ),
        heartbeat_s=_extended_count(channel, "backport-heartbeat-period", "valueUnsignedInt"),
        timeout_s=_extended_count(channel, "backport-timeout", "valueUnsignedInt"),
        max_count=_extended_count(channel, "backport-max-count", "valuePositiveInt"),
        filters=tuple(one for query in queries for one in _r4_filters(query)),
        end_ms=_end(resource),
        is_off=_is_off(resource, channel.get("payload", "")),
    )


def _r4_filters(query: str) -> Iterator[Filter]:
    type_, mark, rest = query.partition("?")
    for name, value in query_pairs(rest if mark else query):
        yield Filter(name=name, value=value, resource_type=type_ if mark else "")


def _extended(element: Mapping[str, Any], name: str, value: str) -> Iterator[Any]:
    for one in element.get("extension", []):
        if one.get("url") == BACKPORT + name and value in one:
            yield one[value]


def _extended_count(element: Mapping[str, Any], name: str, value: str) -> int:
    return next((_whole(one, name) for one in _extended(element, name, value)), 0)


def _required(resource: Mapping[str, Any], name: str) -> str:
    found = resource.get(name)
    if not isinstance(found, str) or not found:
        raise _wrong("required", "the topic is missing", f"Subscription.{name}")
    return found


def _channel(code: object, place: str) -> str:
    if code not in (REST_HOOK, WEBSOCKET):
        raise _wrong("not-supported", f"channels are {REST_HOOK} and {WEBSOCKET}", place)
    return str(code)


def _endpoint(element: Mapping[str, Any], channel: object, place: str) -> str:
    found = element.get("endpoint", "")
    if channel != REST_HOOK:
        return ""
    if not isinstance(found, str) or not found:
        raise _wrong("required", "a rest-hook has an endpoint", place)
    return found


def _content(code: object, place: str) -> str:
    if code not in CONTENTS:
        raise _wrong("value", f"content is one of {', '.join(CONTENTS)}", place)
    return str(code)


def _is_off(resource: Mapping[str, Any], content_type: object) -> bool:
    if content_type not in _JSON:
        raise _wrong("not-supported", "notifications are application/fhir+json", "Subscription")
    status = resource.get("status", "requested")
    if status not in (*_WISHED, "error"):
        raise _wrong("value", "status is requested (or off)", "Subscription.status")
    return bool(status == "off")


def _count(resource: Mapping[str, Any], name: str) -> int:
    return _whole(resource.get(name, 0), name)


def _whole(found: object, name: str) -> int:
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < 1 << 31:
        raise _wrong("value", f"{name} is a whole number", "Subscription")
    return found


def _end(resource: Mapping[str, Any]) -> int:
    if "end" not in resource:
        return 0
    span = span_of(str(resource["end"]))
    if span is None:
        raise _wrong("value", "end is an instant", "Subscription.end")
    return int(span.low)


def _few(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    if len(headers) > _MAX_HEADERS:
        raise _wrong("too-costly", f"at most {_MAX_HEADERS} headers are sent", "Subscription")
    return headers


def _header(text: object, place: str) -> tuple[str, str]:
    found = _HEADER.match(text) if isinstance(text, str) else None
    if found is None:
        raise _wrong("value", "a header is one line, Name: value, in ASCII", place)
    if found["name"].lower() in _OWN:
        raise _wrong("value", "this header is the gateway's own matter", place)
    return found["name"], found["value"]


def masked(release: str, body: bytes) -> dict[str, Any]:
    """The resource without the values of its headers."""
    resource: dict[str, Any] = orjson.loads(body)
    if release == "R5":
        for one in resource.get("parameter", []):
            one["value"] = MASK
    elif "header" in resource.get("channel", {}):
        channel = resource["channel"]
        channel["header"] = [f"{one.partition(':')[0]}: {MASK}" for one in channel["header"]]
    return resource


def _wrong(code: str, text: str, place: str) -> Refusal:
    return Refusal(422, code, text, expression=place)


__all__ = ["BACKPORT", "MASK", "masked", "read_wish"]
