"""Server reflection, v1 and v1alpha: the schemas of everything that can be called here, for clients that may call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from gateway.grpc.descriptors import DescriptorIndex
from gateway.grpc.ending import Ending
from gateway.grpc.exchange import Arrival, Operation
from gateway.grpc.foreign import (
    REFLECTION,
    Question,
    Reflected,
    error_response,
    files_response,
    reflected,
    services_response,
)
from gateway.grpc.gate import Gate
from gateway.grpc.status import Status
from schemas.fhir import Release, catalogue


class Reflection:
    """Answers from the descriptors in memory."""

    def __init__(
        self,
        index: DescriptorIndex,
        owned: Callable[[], Iterable[str]],
        *,
        gate: Gate,
        ending: Ending,
    ) -> None:
        self._ending = ending
        self._index = index
        self._owned = owned
        self._gate = gate

    def operations(self) -> Mapping[str, Operation]:
        """By path."""
        operation = Operation(run=self._reflect, is_long=True)
        return {f"/{service}/ServerReflectionInfo": operation for service in REFLECTION}

    async def _reflect(
        self, arrival: Arrival, frames: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        client = await self._gate.admit(arrival)
        async with aclosing(self._ending.until(frames, client)) as asked:
            async for frame in asked:
                yield self.answer(reflected(frame))

    def answer(self, asked: Reflected) -> bytes:
        """The answer to one question."""
        match asked.question:
            case Question.SERVICES:
                names = {*self._index.services(), *self._owned()}
                return services_response(asked, sorted(names))
            case Question.FILE:
                files = self._index.file(asked.name)
            case Question.SYMBOL:
                files = self._index.symbol(asked.name) or _fhir_files(asked.name)
            case Question.NOTHING:
                return error_response(asked, Status.INVALID_ARGUMENT, "nothing is asked for")
            case _:  # extensions, of which no schema here has any
                files = []
        if not files:
            return error_response(asked, Status.NOT_FOUND, "it is not known here")
        return files_response(asked, files)


def _fhir_files(symbol: str) -> list[bytes]:
    """The descriptors of a FHIR resource, which are too many to be held ready."""
    package, _, name = symbol.rpartition(".")
    release = next((one for one in Release if one.package == package), None)
    if release is None:
        return []
    known = catalogue(release)
    if name not in known.resources:
        return []
    files = FileDescriptorSet.FromString(known.descriptor_set(name)).file
    return [one.SerializeToString() for one in reversed(files)]


__all__ = ["Reflection"]
