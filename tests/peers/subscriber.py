"""A subscriber: an HTTP server that keeps what it is told, and can be away, slow or rude."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from tests.hospital import eventually
from tests.ports import free_port


@dataclass
class Subscriber:
    """What it got, and how it answers."""

    port: int
    notifications: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    tried: int = 0
    status: int = 200
    location: str = ""
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def app(self, scope: Any, receive: Any, send: Any) -> None:  # as ASGI has it
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            event = await receive()
            body, more = body + event.get("body", b""), event.get("more_body", False)
        extra = [(b"location", self.location.encode())] if self.location else []
        await send({"type": "http.response.start", "status": self.status, "headers": extra})
        await send({"type": "http.response.body", "body": b""})
        async with self.changed:
            self.tried += 1
            if self.status < 300:
                self.paths.append(scope["path"])
                self.headers.append({k.decode(): v.decode() for k, v in scope["headers"]})
                self.notifications.append(json.loads(body))
            self.changed.notify_all()

    async def until(self, condition: Callable[[], bool], *, within_s: float = 40.0) -> None:
        """Wait for a notification that makes it true."""
        async with asyncio.timeout(within_s), self.changed:
            await self.changed.wait_for(condition)

    def of(self, kind: str) -> list[Any]:
        return [one for one in self.notifications if status(one)["type"] == kind]

    def numbers(self) -> list[int]:
        return [n for one in self.of("event-notification") for n in event_numbers(one)]

    async def until_numbers(self, last: int, *, within_s: float = 40.0) -> None:
        await self.until(lambda: last in self.numbers(), within_s=within_s)


def status(bundle: Any) -> dict[str, Any]:
    """The status of a notification, whatever its release."""
    first = bundle["entry"][0]["resource"]
    if first["resourceType"] == "SubscriptionStatus":
        return dict(first)
    parts = first["parameter"]
    found = {
        one["name"]: next(v for k, v in one.items() if k.startswith("value"))
        for one in parts
        if one["name"] != "notification-event"
    }
    found["notificationEvent"] = [
        {
            part["name"]: next(v for k, v in part.items() if k.startswith("value"))
            for part in one["part"]
        }
        for one in parts
        if one["name"] == "notification-event"
    ]
    return found


def event_numbers(bundle: Any) -> list[int]:
    return [
        int(one.get("eventNumber") or one.get("event-number"))
        for one in status(bundle).get("notificationEvent", [])
    ]


@contextlib.asynccontextmanager
async def listening(port: int = 0, known: Subscriber | None = None) -> AsyncIterator[Subscriber]:
    """A subscriber on loopback; with `known` the one that was away."""
    subscriber = known or Subscriber(port or free_port())
    config = uvicorn.Config(
        subscriber.app, host="127.0.0.1", port=subscriber.port, log_level="error", lifespan="off", ws="none",
        interface="asgi3",
    )  # fmt: skip
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]  # the test's own signals stay
    with contextlib.suppress(AttributeError):
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(server.serve())
    await eventually(lambda: server.started, within_s=20, what="the subscriber listens")
    try:
        yield subscriber
    finally:
        server.should_exit = True
        await task
