"""What an instance says of its methods (`$SRV.INFO`, ADR-32). Unsigned: for documents, never for decisions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from bus.services.adr32 import INFO, PREFIX
from bus.transport.protocol import Messenger
from gateway.contract import MethodWords
from schemas.errors import MeshError

_WAIT_S: Final = 1.0
_MAX_METHODS: Final = 256
_MAX_CHARS: Final = 64 * 1024
_MAX_INSTANCES: Final = 1024


class Descriptions:
    """Asks each instance once: what it says does not change while it runs."""

    def __init__(self, messenger: Messenger) -> None:
        self._messenger = messenger
        self._known: dict[tuple[str, str], tuple[MethodWords, ...]] = {}

    async def __call__(self, service: str, instance: str) -> Sequence[MethodWords]:
        """Its methods; () where it does not answer."""
        known = self._known.get((service, instance))
        if known is not None:
            return known
        try:
            answer = await self._messenger.request(
                f"{PREFIX}.{INFO}.{service}.{instance}", b"", timeout_s=_WAIT_S
            )
        except MeshError:
            return ()
        found = methods_of(answer.payload)
        if len(self._known) >= _MAX_INSTANCES:
            self._known.clear()
        self._known[service, instance] = found
        return found


def methods_of(payload: bytes) -> tuple[MethodWords, ...]:
    """The methods in an `io.nats.micro.v1.info_response`; () in what is none."""
    try:
        told = json.loads(payload)
    except (ValueError, RecursionError):
        return ()
    endpoints = told.get("endpoints") if isinstance(told, dict) else None
    if not isinstance(endpoints, list):
        return ()
    return tuple(
        _method(one)
        for one in endpoints[:_MAX_METHODS]
        if isinstance(one, dict) and isinstance(one.get("name"), str)
    )


def _method(endpoint: dict[str, object]) -> MethodWords:
    said = endpoint.get("metadata")
    metadata = said if isinstance(said, dict) else {}

    def text(key: str) -> str:
        value = metadata.get(key, "")
        return value if isinstance(value, str) and len(value) <= _MAX_CHARS else ""

    return MethodWords(
        name=str(endpoint["name"]),
        request_type=text("request_type"),
        response_type=text("response_type"),
        request_schema=text("request_schema"),
        response_schema=text("response_schema"),
    )


__all__ = ["Descriptions", "methods_of"]
