"""Frames of our own methods, read and checked."""

from __future__ import annotations

from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from bus.flow.priority import Priority
from gateway.grpc.status import invalid
from schemas.generated.medmesh.gateway.v1 import mesh_pb2 as pb

MessageT = TypeVar("MessageT", bound=Message)
_PRIORITIES: Final = {
    pb.PRIORITY_STAT: Priority.STAT,
    pb.PRIORITY_ROUTINE: Priority.ROUTINE,
    pb.PRIORITY_BULK: Priority.BULK,
}


def read(kind: type[MessageT], frame: bytes) -> MessageT:
    """One message. Raises `RpcFailed` for bytes that are none."""
    try:
        return kind.FromString(frame)
    except DecodeError:
        raise invalid(
            f"the message is no {kind.DESCRIPTOR.full_name}", reason="invalid_body"
        ) from None


def priority_of(number: pb.Priority.ValueType) -> Priority:
    """Our priority; one that a later version adds is routine."""
    return _PRIORITIES.get(number, Priority.ROUTINE)


__all__ = ["priority_of", "read"]
