"""What of nats-py's inside the fast path holds on to, all of it, and whether it is still there.

Written for nats-py 2.16. `missing` looks at everything before it is used: where an upgrade moved something, the mesh
goes on with what nats-py offers publicly, slower, and says by name what was not found.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from types import CodeType
from typing import Any, Final, cast

from nats.aio import transport as client_transport
from nats.aio.client import Client
from nats.protocol.parser import Parser as ClientParser

from bus.transport.nats.parsing import ControlParser, Parser

PARSER: Final = "nats.aio.client.Client._ps"
PARSE: Final = "nats.protocol.parser.Parser.parse(data)"
RESET: Final = "nats.protocol.parser.Parser.reset()"
BUFFER: Final = "nats.protocol.parser.Parser.buf"
READ_LOOP: Final = "nats.aio.client.Client._read_loop calls _ps.parse"
TRANSPORT: Final = "nats.aio.client.Client._transport"
WRITER: Final = "nats.aio.transport.TcpTransport._io_writer"
SOCKET: Final = "asyncio.StreamWriter.transport writes and counts what is buffered"


class HookMissing(Exception):
    """nats-py's inside is not as expected; the message names the place."""


def missing() -> list[str]:
    """Every hook that this version of nats-py does not have."""
    client = Client()
    parser = getattr(client, "_ps", None)
    looks: dict[str, Callable[[], bool]] = {
        PARSER: lambda: isinstance(parser, ClientParser),
        PARSE: lambda: (
            inspect.iscoroutinefunction(ClientParser.parse)
            and list(inspect.signature(ClientParser.parse).parameters)[:2] == ["self", "data"]
        ),
        RESET: lambda: list(inspect.signature(ClientParser.reset).parameters) == ["self"],
        BUFFER: lambda: isinstance(getattr(parser, "buf", None), bytearray),
        READ_LOOP: lambda: {"_ps", "parse"} <= _names(cast("Any", Client)._read_loop.__code__),
        TRANSPORT: lambda: hasattr(client, "_transport"),
        WRITER: lambda: hasattr(_tcp_transport(), "_io_writer"),
    }
    return [name for name, look in looks.items() if not _holds(look)]


def _tcp_transport() -> object:
    return cast("Any", client_transport.TcpTransport)()


def _holds(look: Callable[[], bool]) -> bool:
    try:
        return look()
    except (AttributeError, TypeError, ValueError):
        return False


def _names(code: CodeType) -> set[str]:
    """Names that a function uses."""
    return set(code.co_names)


def socket_of(client: Client) -> asyncio.StreamWriter:
    """The stream that a connected client writes to. Raises `HookMissing`, for websockets too."""
    transport = getattr(client, "_transport", None)
    if not isinstance(transport, client_transport.TcpTransport):
        raise HookMissing(TRANSPORT)
    writer = getattr(transport, "_io_writer", None)
    if not isinstance(writer, asyncio.StreamWriter):
        raise HookMissing(WRITER)
    # by what it can do: uvloop's transports are no asyncio.Transport by inheritance
    wanted = ("write", "get_write_buffer_size", "set_write_buffer_limits", "abort", "is_closing")
    if not all(callable(getattr(writer.transport, name, None)) for name in wanted):
        raise HookMissing(SOCKET)
    return writer


def take_parser(client: Client, make: Callable[[ControlParser], Parser]) -> Parser:
    """Put our parser in the place of a connected client's own, which `make` gets. Raises `HookMissing`."""
    inner = cast("Any", client)
    own = getattr(client, "_ps", None)
    if not isinstance(own, ClientParser):
        raise HookMissing(PARSER)
    if own.buf:
        raise HookMissing(f"{BUFFER} is empty before the first read")
    inner._ps = parser = make(cast("ControlParser", own))
    return parser


def abandon(client: Client) -> None:
    """Break a client's socket where it is still open: nats-py leaves it so when its last flush fails."""
    writer = getattr(getattr(client, "_transport", None), "_io_writer", None)
    if isinstance(writer, asyncio.StreamWriter):
        writer.transport.abort()


__all__ = ["HookMissing", "abandon", "missing", "socket_of", "take_parser"]
