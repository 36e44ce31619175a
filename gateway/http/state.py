"""For whoever balances over several gateways: `/healthz` says that it lives, `/readyz` that it may be asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from gateway.contract import Receive, Scope, Send
from gateway.http.edge import DRAINING
from gateway.http.exchange import Refused, answer
from gateway.http.problems import Header, Problem
from gateway.http.request import JSON, Request
from gateway.part import Mount

_OK: Final = b'{"status":"ok"}'
_FRESH: Final[list[Header]] = [JSON, (b"cache-control", b"no-store")]
_DISCONNECTED: Final = Problem(
    status=503,
    code="disconnected",
    detail="the mesh cannot be reached at the moment",
    retry_after_s=1.0,
)


class State:
    """Both answers."""

    def __init__(
        self, *, is_connected: Callable[[], bool], is_draining: Callable[[], bool]
    ) -> None:
        self._is_connected = is_connected
        self._is_draining = is_draining

    def mounts(self) -> Sequence[Mount]:
        """Their routes. They are answered also when every place is taken."""
        return (
            Mount(
                prefix="/healthz", app=self._live, openapi=_described("/healthz"), is_stream=True
            ),
            Mount(prefix="/readyz", app=self._ready, openapi=_described("/readyz"), is_stream=True),
        )

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        Request(scope, receive).require("GET", "HEAD")
        await answer(send, 200, _OK, list(_FRESH))

    async def _ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        Request(scope, receive).require("GET", "HEAD")
        if self._is_draining():
            raise Refused(DRAINING)
        if not self._is_connected():
            raise Refused(_DISCONNECTED)
        await answer(send, 200, _OK, list(_FRESH))


def _described(path: str) -> dict[str, Any]:
    return {
        path: {
            "get": {
                "operationId": path.strip("/"),
                "tags": ["gateway"],
                "summary": "Whether the gateway lives"
                if path == "/healthz"
                else "Whether it may be asked",
                "security": [],
                "responses": {
                    "200": {
                        "description": "It is so.",
                        "content": {
                            "application/json": {
                                "schema": {
                                    "type": "object",
                                    "required": ["status"],
                                    "properties": {"status": {"const": "ok"}},
                                }
                            }
                        },
                    }
                },
            }
        }
    }


__all__ = ["State"]
