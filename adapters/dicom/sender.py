"""Messages out: command and data sets cut into P-DATA PDUs of the size that the peer takes (DICOM PS3.8 annex E)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from dataclasses import replace
from typing import Final, TypeAlias

from adapters.dicom.channel import Channel
from adapters.dicom.dimse.commands import Command, write_command
from adapters.dicom.upper.machine import Context, Machine
from adapters.dicom.upper.pdus import PDV_HEADER_BYTES, p_data_header
from schemas.errors import Unavailable

Body: TypeAlias = bytes | AsyncIterable[bytes | memoryview] | None
"""A data set in the context's transfer syntax, whole or in pieces."""

_UNLIMITED_PDU_BYTES: Final = 131_072
_MAX_PDU_BYTES: Final = 1 << 20


class Sender:
    """The outgoing side of one association. Messages never mix; each PDU is one write."""

    def __init__(self, channel: Channel, machine: Machine) -> None:
        self._channel = channel
        self._machine = machine
        self._turn = asyncio.Lock()
        peer_bytes = min(machine.peer_max_pdu_bytes or _UNLIMITED_PDU_BYTES, _MAX_PDU_BYTES)
        self._fragment_bytes = peer_bytes - PDV_HEADER_BYTES

    async def send(self, context: Context, command: Command, body: Body = None) -> None:
        """Send one message; whether it has a data set is said as `body` has it. Raises `Unavailable`."""
        command = replace(command, has_data_set=body is not None)
        async with self._turn:
            if not self._machine.may_send:
                raise Unavailable("the association has ended: no message can be sent on it")
            if body is None:
                await self._send_command(context, command)
            elif isinstance(body, bytes):
                await self._send_command(context, command, first=body)
            else:
                await self._send_command(context, command)
                await self._send_pieces(context, body)

    async def flush(self) -> None:
        """Send what the state machine has to say. Raises `Unavailable`."""
        chunk = bytes(self._machine.outgoing)
        self._machine.outgoing.clear()
        if chunk:
            await self._channel.send(chunk)

    async def _send_command(
        self, context: Context, command: Command, *, first: bytes | None = None
    ) -> None:
        """The command set, in the same write as the first PDU of a data set that is whole."""
        raw, most = write_command(command), self._fragment_bytes
        frame = b"".join(
            p_data_header(
                context.id,
                len(part := raw[start : start + most]),
                is_command=True,
                is_last=start + most >= len(raw),
            )
            + part
            for start in range(0, len(raw), most)
        )
        if first is None:
            await self._channel.send(frame)
            return
        view = memoryview(first)
        for start in range(0, len(first) or 1, most):
            is_last = start + most >= len(first)
            framed = self._framed(context, view[start : start + most], is_last=is_last)
            await self._channel.send(frame + framed if frame else framed)
            frame = b""

    async def _send_pieces(self, context: Context, body: AsyncIterable[bytes | memoryview]) -> None:
        """Pieces of any size in PDUs as large as the peer takes; which is the last is known when nothing follows."""
        kept, most = bytearray(), self._fragment_bytes
        async for piece in body:
            kept += piece
            whole = max(0, len(kept) - 1) // most * most
            for start in range(0, whole, most):
                with memoryview(kept) as view, view[start : start + most] as part:
                    framed = self._framed(context, part, is_last=False)
                await self._channel.send(framed)
            del kept[:whole]
        await self._channel.send(self._framed(context, kept, is_last=True))

    @staticmethod
    def _framed(context: Context, part: memoryview | bytearray, *, is_last: bool) -> bytes:
        head = p_data_header(context.id, len(part), is_command=False, is_last=is_last)
        return b"".join((head, part))


__all__ = ["Body", "Sender"]
