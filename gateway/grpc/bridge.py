"""The bridge: any `/package.Service/Method` to a service of the mesh, without generated code. Knows no transport.

Bodies go through untouched: the client's message is the call's body, the answer's body is the client's message. How a
method is called is read from its descriptor; without one it is taken for unary, and held to it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Final, Protocol

from bus.services.codecs import BYTES, PROTOBUF
from gateway.access.protocol import Client
from gateway.grpc.asking import Asking
from gateway.grpc.descriptors import Shape
from gateway.grpc.exchange import Arrival, Operation, first_frame, only_frame
from gateway.grpc.gate import Gate
from gateway.grpc.routes import Target
from gateway.grpc.status import RpcFailed, Status, failure_of, unimplemented

_CARRIED_TYPES: Final = (PROTOBUF, BYTES, "application/protobuf")
_UNKNOWN: Final = Shape()


class Finds(Protocol):
    """Who answers for a path."""

    def target(self, path: str) -> Target:
        """The method of the mesh. Raises `RpcFailed`."""
        ...


class Describes(Protocol):
    """How a path is called."""

    def shape(self, path: str) -> Shape | None:
        """Its shape, where it is known."""
        ...


class Bridge:
    """Says what answers a path. Our own methods come first, then services of the mesh."""

    def __init__(
        self,
        *,
        own: Mapping[str, Operation],
        routes: Finds,
        shapes: Describes,
        asking: Asking,
        gate: Gate,
    ) -> None:
        self._own = own
        self._routes = routes
        self._shapes = shapes
        self._asking = asking
        self._gate = gate
        self._known = Operation(run=self._run_known)
        self._unknown = Operation(run=self._run_unknown)
        self._refused = Operation(run=self._refuse_stream)

    def operation(self, path: str) -> Operation:
        """What answers a path; there is always something, if only a refusal."""
        own = self._own.get(path)
        if own is not None:
            return own
        shape = self._shapes.shape(path)
        if shape is None:
            return self._unknown
        return self._known if shape.is_unary else self._refused

    async def _run_known(
        self, arrival: Arrival, frames: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        client = await self._gate.admit(arrival)
        target = self._routes.target(arrival.path)
        yield await self._ask(client, arrival, target, await first_frame(frames))

    async def _run_unknown(
        self, arrival: Arrival, frames: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        client = await self._gate.admit(arrival)
        target = self._routes.target(arrival.path)
        yield await self._ask(client, arrival, target, await only_frame(frames))

    async def _ask(self, client: Client, arrival: Arrival, target: Target, frame: bytes) -> bytes:
        shape = self._shapes.shape(arrival.path) or _UNKNOWN
        response = await self._asking.ask(
            client,
            arrival,
            target,
            frame,
            type=PROTOBUF,
            priority=arrival.priority,
            is_idempotent=shape.is_idempotent,
        )
        if response.type.partition(";")[0] not in _CARRIED_TYPES:
            raise RpcFailed(
                Status.INTERNAL,
                f"{target.owner}/{target.method} answers {response.type[:80]}, which is no protobuf message: "
                "declare it with protobuf messages, or call it by medmesh.gateway.v1.Mesh/Request",
                reason="answer_is_no_protobuf",
            )
        return response.body

    async def _refuse_stream(
        self, arrival: Arrival, frames: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        yield await self._refusal(arrival)

    async def _refusal(self, arrival: Arrival) -> bytes:
        await self._gate.admit(arrival)
        raise unimplemented(
            f"{arrival.path} streams, and calls of the mesh are one message in, one message out; "
            "events can be followed by medmesh.gateway.v1.Mesh/Subscribe",
            reason="streams_not_carried",
        )


async def exchange(
    bridge: Bridge, arrival: Arrival, frames: AsyncIterator[bytes]
) -> AsyncGenerator[bytes, None]:
    """One RPC for a transport: frames in, frames out, `RpcFailed` for a status other than OK."""
    steps = bridge.operation(arrival.path).run(arrival, frames)
    try:
        async for frame in steps:
            yield frame
    except Exception as error:
        raise failure_of(error) from error
    finally:
        await steps.aclose()


__all__ = ["Bridge", "Describes", "Finds", "exchange"]
