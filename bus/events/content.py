"""From an event to what is sealed, and from what was opened to what a handler sees."""

from __future__ import annotations

from bus.bodies import BadBody, BodyCodec, BodyReason, Encoded, UnreadableContent
from bus.envelope.types import Envelope
from bus.events.protocol import NewEvent, ReceivedEvent
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from schemas.subjects import partition_of

MESSAGE_ID_BYTES = 16


def to_content(
    event: NewEvent,
    *,
    message_id: bytes,
    source: str,
    now_ms: int,
    codec: BodyCodec | None = None,
    schema_id: bytes = b"",
) -> content_pb.Content:
    """The content of an event: its body, as `codec` encodes it, and what is said about it inside the encryption."""
    encoded = (
        codec.encode(event.type, event.body)
        if codec is not None
        else Encoded(content_pb.BODY_ENCODING_IDENTITY, event.body)
    )
    return content_pb.Content(
        id=message_id,
        type=event.type,
        schema_id=schema_id,
        encoding=encoded.encoding,
        dictionary_id=encoded.dictionary_id,
        raw_size=len(event.body),
        body=encoded.body,
        source=event.on_behalf_of or source,
        received_ms=event.received_ms or now_ms,
        traceparent=event.traceparent,
        index=event.index,
        receipts_from=event.receipts_from,
    )


def body_of(content: content_pb.Content) -> bytes:
    """The body of a content that is not encoded, or was brought into that form. Raises `BadBody`."""
    if content.encoding != content_pb.BODY_ENCODING_IDENTITY:
        raise BadBody(
            BodyReason.UNKNOWN_ENCODING, f"body encoding {content.encoding} is not known here"
        )
    if content.raw_size != len(content.body):
        raise BadBody(BodyReason.SIZE_MISMATCH, "the body has another size than its content says")
    return content.body


def to_received(
    envelope: Envelope,
    *,
    stored_ms: int,
    seq: int,
    attempt: int,
    replayed: bool,
    fence: int = 0,
) -> ReceivedEvent:
    """What a handler sees of an opened envelope. Raises `UnreadableContent`."""
    content = envelope.content
    if len(content.id) != MESSAGE_ID_BYTES:
        raise UnreadableContent(
            f"the message id has {len(content.id)} bytes; {MESSAGE_ID_BYTES} are needed"
        )
    source = service_name(envelope.sender.service)
    return ReceivedEvent(
        subject=envelope.subject,
        message_id=content.id,
        type=content.type,
        schema_id=content.schema_id,
        body=body_of(content),
        index=content.index,
        source=source,
        received_ms=content.received_ms,
        stored_ms=stored_ms,
        seq=seq,
        partition=partition_of(envelope.subject),
        attempt=attempt,
        replayed=replayed,
        traceparent=content.traceparent,
        source_publishes=envelope.sender.publish,
        on_behalf_of="" if content.source == source else content.source,
        fence=fence,
    )


def service_name(spiffe_id: str) -> str:
    """The service in `spiffe://<mesh>/<site>/<service>`."""
    return spiffe_id.rpartition("/")[2]


__all__ = [
    "MESSAGE_ID_BYTES",
    "UnreadableContent",
    "body_of",
    "service_name",
    "to_content",
    "to_received",
]
