"""Which connections ended: the server's own events, as far as it is set up to show them to an account.

A server with accounts publishes `$SYS.ACCOUNT.<account>.DISCONNECT` in its system account, 0.3 s or less after a
connection ended, however it ended. The embedded server exports them to the mesh's account (see
`bus.transport.server_files`); on another server its administrator may do the same:

    accounts {
      SYS { exports: [ { stream: "$SYS.ACCOUNT.*.DISCONNECT", account_token_position: 3 } ] }
      MESH { imports: [ { stream: { account: SYS, subject: "$SYS.ACCOUNT.MESH.DISCONNECT" } } ] }
    }
    system_account: SYS

Clients in the nameless default account cause no such events.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from bus.transport.protocol import Incoming, Messenger, Subscription

_DISCONNECTS: Final = "$SYS.ACCOUNT.*.DISCONNECT"
_MOST_BYTES: Final = 64 * 1024
_LEAVES_WITH_SERVER: Final = "Server Shutdown"
"""The reason when a server is stopped: its clients connect to another one, or to it again."""


async def watch_departures(messenger: Messenger, gone: Callable[[str], None]) -> Subscription:
    """Call `gone` with the name of each connection of the account that ended. Raises `PermissionRefused`."""

    def arrived(message: Incoming) -> None:
        name = departed(message.payload)
        if name:
            gone(name)

    return await messenger.subscribe(_DISCONNECTS, arrived)


def departed(payload: bytes) -> str:
    """The connection's name in an event `io.nats.server.advisory.v1.client_disconnect`; empty when there is none.

    Also empty when the server was stopped: then the connection's owner lives.
    """
    if len(payload) > _MOST_BYTES:
        return ""
    try:
        event = json.loads(payload)
    except (ValueError, RecursionError):
        return ""
    client = event.get("client") if isinstance(event, dict) else None
    if not isinstance(client, dict) or event.get("reason") == _LEAVES_WITH_SERVER:
        return ""
    name = client.get("name")
    return name if isinstance(name, str) else ""


__all__ = ["departed", "watch_departures"]
