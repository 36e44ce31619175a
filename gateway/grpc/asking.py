"""A call to a service of the mesh in a client's name: its right, its deadline, its record."""

from __future__ import annotations

from bus.envelope.types import NobodyMayRead
from bus.flow.priority import Priority
from bus.services.protocol import Response
from gateway.access.protocol import Client, Deed
from gateway.contract import Call
from gateway.grpc.exchange import TRACEPARENT, Arrival
from gateway.grpc.gate import Gate, written
from gateway.grpc.routes import Target
from gateway.grpc.status import unavailable


class Asking:
    """Calls, and nothing of gRPC."""

    def __init__(self, call: Call, gate: Gate) -> None:
        self._call = call
        self._gate = gate

    async def ask(
        self,
        client: Client,
        arrival: Arrival,
        target: Target,
        body: bytes,
        *,
        type: str,
        priority: Priority,
        is_idempotent: bool,
    ) -> Response:
        """The answer, once the access record is kept, too. Cancelling it abandons the call; the record is kept.

        Raises `Forbidden`, what `gateway.contract.Call` does, and `RpcFailed`.
        """
        owner = target.owner
        what = f"{owner}/{target.method}"
        self._gate.check(client, arrival, Deed.CALL, what)
        timeout_s = self._gate.timeout_s(arrival)
        record = self._gate.record(client, arrival, Deed.CALL, what)
        try:
            response = await self._call(
                owner.service,
                target.method,
                body,
                type=type,
                version=owner.major,
                timeout_s=timeout_s,
                idempotent=is_idempotent,
                call_id=self._gate.id_for(client, arrival, what),
                priority=priority,
                traceparent=arrival.metadata.get(TRACEPARENT, ""),
            )
        except NobodyMayRead:
            raise unavailable(f"there is no service {owner}", reason="no_instance") from None
        await written(record)
        return response


__all__ = ["Asking"]
