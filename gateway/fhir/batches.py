"""Bundles that are posted: a batch is many requests, a transaction one call to the one owner of all its types."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Awaitable, Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

import msgspec
import orjson

from adapters.fhir.codec.errors import UnreadableResource
from adapters.fhir.codec.partial import read_head
from gateway.fhir.exchange import FHIR_JSON, FhirRequest, FhirResponse, Refusal
from gateway.fhir.reading import pairs_of

MAX_ENTRIES: Final = 1000
"""Of a posted Bundle."""
_AT_A_TIME: Final = 8
_NONE: Final = msgspec.Raw()
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
_PATCH: Final = "application/json-patch+json"

Respond = Callable[[FhirRequest], Awaitable[FhirResponse]]


class EntryRequest(msgspec.Struct, frozen=True):
    """Bundle.entry.request (FHIR R4 §2.36.4)."""

    method: str = ""
    url: str = ""
    if_match: str = msgspec.field(name="ifMatch", default="")
    if_none_match: str = msgspec.field(name="ifNoneMatch", default="")
    if_none_exist: str = msgspec.field(name="ifNoneExist", default="")
    if_modified_since: str = msgspec.field(name="ifModifiedSince", default="")


class PostedEntry(msgspec.Struct, frozen=True):
    """Bundle.entry with its resource as the bytes that came."""

    resource: msgspec.Raw = _NONE
    request: EntryRequest | None = None


class PostedBundle(msgspec.Struct, frozen=True):
    """What of a posted Bundle is looked at here."""

    type: str = ""
    entry: list[PostedEntry] = []


_BUNDLE: Final = msgspec.json.Decoder(PostedBundle)


def posted_bundle(body: bytes) -> PostedBundle:
    """A batch or a transaction, each entry with its request. Raises `Refusal` (400, 413)."""
    try:
        if read_head(body).resource_type != "Bundle":
            raise _bad(
                "value", "a Bundle is posted here; a resource goes to the address of its type"
            )
        bundle = _BUNDLE.decode(body)
    except UnreadableResource as error:
        raise _bad("structure", str(error)) from None
    except (msgspec.DecodeError, RecursionError):
        raise _bad("structure", "Bundle.entry or Bundle.entry.request has another shape") from None
    if bundle.type not in ("batch", "transaction"):
        raise _bad("value", "Bundle.type is batch or transaction")
    if len(bundle.entry) > MAX_ENTRIES:
        text = f"the Bundle has {len(bundle.entry)} entries; at most {MAX_ENTRIES} are taken"
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-costly", text)
    for place, entry in enumerate(bundle.entry):
        if entry.request is None or not entry.request.method or not entry.request.url:
            raise _bad("required", f"Bundle.entry[{place}].request has no method or no url")
    return bundle


def entry_requests(bundle: PostedBundle) -> list[EntryRequest]:
    """The request of each entry, as `posted_bundle` has checked."""
    return [entry.request for entry in bundle.entry if entry.request is not None]


async def run_batch(request: FhirRequest, bundle: PostedBundle, respond: Respond) -> FhirResponse:
    """Work every entry by itself; one that fails does not hurt the others (FHIR R4 §3.1.0.11.1)."""
    slots = asyncio.Semaphore(_AT_A_TIME)

    async def one(entry: PostedEntry) -> bytes:
        async with slots:
            try:
                inner = _inner(request, entry)
                return _answer(inner, await respond(inner))
            except Refusal as refusal:
                return _answer(request, refusal.response())

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(entry)) for entry in bundle.entry]
    entries = b",".join(task.result() for task in tasks)
    body = b'{"resourceType":"Bundle","type":"batch-response","entry":[' + entries + b"]}"
    if not bundle.entry:
        body = b'{"resourceType":"Bundle","type":"batch-response"}'
    return FhirResponse(status=HTTPStatus.OK, body=body)


def _inner(request: FhirRequest, entry: PostedEntry) -> FhirRequest:
    wanted = entry.request or EntryRequest()
    path, _, query = relative(wanted.url, request.base).partition("?")
    steps = tuple(unquote(step) for step in path.split("/") if step)
    if not steps:
        raise _bad("value", "Bundle.entry.request.url names no type")
    body, kind = bytes(entry.resource), FHIR_JSON
    if wanted.method == "PATCH":
        body, kind = _patch(body)
    headers = {
        "content-type": kind,
        "if-match": wanted.if_match,
        "if-none-match": wanted.if_none_match,
        "if-none-exist": wanted.if_none_exist,
        "if-modified-since": wanted.if_modified_since,
        "prefer": request.headers.get("prefer", ""),
    }
    return replace(
        request,
        method=wanted.method,
        path=steps,
        query=pairs_of(query) if query else (),
        headers={name: value for name, value in headers.items() if value},
        body=body,
    )


def relative(url: str, base: str) -> str:
    """The part of an entry's url behind the base. Raises `Refusal` (400) for another server's."""
    if url.startswith(f"{base}/"):
        return url[len(base) + 1 :]
    if "://" in url.partition("?")[0]:
        raise _bad("value", "Bundle.entry.request.url lies on another server")
    return url.lstrip("/")


def _patch(resource: bytes) -> tuple[bytes, str]:
    """A JSON Patch travels in a Bundle as a Binary (FHIR R4 §3.1.0.11.5)."""
    try:
        binary = orjson.loads(resource or b"null")
        if isinstance(binary, dict) and binary.get("resourceType") == "Binary":
            kind = str(binary.get("contentType", ""))
            return b64decode(str(binary.get("data", "")), validate=True), kind
    except (orjson.JSONDecodeError, ValueError):
        pass
    raise _bad("value", f"a PATCH in a Bundle brings a Binary with contentType {_PATCH}")


def _answer(request: FhirRequest, response: FhirResponse) -> bytes:
    headers = dict(response.headers)
    told: dict[str, object] = {"status": _status(response.status)}
    for name, element in (("location", "location"), ("etag", "etag")):
        if name in headers:
            told[element] = headers[name]
    fields = []
    if "location" in headers:
        full_url = headers["location"].partition("/_history/")[0]
        fields.append(b'"fullUrl":' + orjson.dumps(full_url))
    is_outcome = response.status >= HTTPStatus.BAD_REQUEST
    if response.body and not is_outcome:
        fields.append(b'"resource":' + response.body)
    said = orjson.dumps(told)
    if response.body and is_outcome:
        said = said[:-1] + b',"outcome":' + response.body + b"}"
    fields.append(b'"response":' + said)
    return b"{" + b",".join(fields) + b"}"


def _status(status: int) -> str:
    return f"{status} {_PHRASES[status]}" if status in _PHRASES else str(status)


def _bad(code: str, text: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, code, text)


__all__ = [
    "MAX_ENTRIES",
    "EntryRequest",
    "PostedBundle",
    "Respond",
    "entry_requests",
    "posted_bundle",
    "relative",
    "run_batch",
]
