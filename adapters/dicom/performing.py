"""Which service of the node works a request."""

from __future__ import annotations

from adapters.dicom.association import Request
from adapters.dicom.dimse.commands import CommandField
from adapters.dicom.dimse.status import Status
from adapters.dicom.receive.sink import InstanceSink
from adapters.dicom.receive.storing import Storing
from adapters.dicom.sinks import Discard, Sink


class Performing:
    """The services that one peer may use. What it may not use had no presentation context to begin with."""

    def __init__(self, storing: Storing | None) -> None:
        self._storing = storing

    def sink(self, request: Request) -> Sink:
        """Where the data set of a request goes."""
        if request.command.field is CommandField.C_STORE_RQ and self._storing is not None:
            return self._storing.sink(request)
        return Discard()

    async def perform(self, request: Request, sink: Sink) -> None:
        """Work a request."""
        match request.command.field:
            case CommandField.C_ECHO_RQ:
                await request.respond(Status.SUCCESS)
            case CommandField.C_STORE_RQ if self._storing is not None and isinstance(
                sink, InstanceSink
            ):
                await self._storing.perform(request, sink)
            case _:
                await request.respond(Status.UNRECOGNIZED_OPERATION)


__all__ = ["Performing"]
