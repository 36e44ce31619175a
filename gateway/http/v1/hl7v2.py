"""`POST /v1/hl7v2`: one ER7 message in, its acknowledgement out; AA (or CA) only when the message is stored.

What is taken and what is answered is decided where the MLLP server does it, so a sender that changes from MLLP to HTTP
hears the same.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from adapters.contract import AdapterRuntime, Offered
from adapters.hl7v2.codec.acknowledgement import parse_acknowledgement
from adapters.hl7v2.codec.errors import Hl7Error
from adapters.hl7v2.config import MllpServerConfig
from adapters.hl7v2.intake import Intake
from bus.services.protocol import Offer
from gateway.access.protocol import Client, Deed
from gateway.access.rights import GATEWAY
from gateway.contract import GatewayRuntime, Receive, Scope, Send
from gateway.http.exchange import Refused, answer
from gateway.http.problems import Header
from gateway.http.request import Request, bad_request, unsupported_type
from gateway.http.v1.desk import Desk
from schemas.errors import ConfigurationError
from schemas.gateway import GatewaySection
from schemas.gateway.hl7v2 import GatewayHl7v2Section
from schemas.subjects import PARTITIONS

PATH: Final = "/v1/hl7v2"
ER7: Final = "application/hl7-v2"
TYPES: Final = (ER7, "application/hl7-v2+er7", "x-application/hl7-v2+er7", "text/plain")
_HEADERS: Final[list[Header]] = [(b"content-type", ER7.encode())]
_START, _END = b"\x0b", b"\x1c\r"
_RETRY_S: Final = b"1"
_STATUS: Final = {
    "A": HTTPStatus.OK,
    "E": HTTPStatus.SERVICE_UNAVAILABLE,
    "R": HTTPStatus.UNPROCESSABLE_ENTITY,
}
"""By the second letter of the acknowledgement code (HL7 table 0008)."""


class Hl7Intake:
    """The route."""

    def __init__(self, section: GatewaySection, runtime: GatewayRuntime, desk: Desk) -> None:
        self._desk = desk
        self._runtime = runtime
        self._settings = section.hl7v2
        self._event = f"evt.{runtime.site}.raw.{section.hl7v2.event}"
        self._trusted: set[str] = set()
        """Clients that may publish every partition, found once: what is configured does not change."""
        self._intake = Intake(_config(section.hl7v2, section), _adapter_runtime(runtime))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Store one message."""
        request = Request(scope, receive)
        request.require("POST")
        desk, event = self._desk, self._event
        client = await desk.admit(request)
        request.accepts(*TYPES)
        desk.allow(client, request, Deed.WRITE, event, lambda: self._ask(client))
        if request.content_type not in TYPES:
            raise Refused(unsupported_type(*TYPES))
        message = await request.body(desk.bounds)
        if _START in message or _END in message:
            raise Refused(
                bad_request("mllp_framing", "send the message without MLLP's frame (0x0B … 0x1C)")
            )
        status, acknowledgement = await self._accept(client, request, message)
        headers = list(_HEADERS)
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            headers.append((b"retry-after", _RETRY_S))
        await answer(send, status, acknowledgement, headers)

    def _ask(self, client: Client) -> None:
        """Whether it may publish the event, whatever the partition of the patient. Raises `Forbidden`."""
        access = self._desk.access
        access.may_publish(client, f"{self._event}.0")
        if client.name not in self._trusted:
            for partition in range(1, PARTITIONS):
                access.may_publish(client, f"{self._event}.{partition}")
            self._trusted.add(client.name)

    async def _accept(
        self, client: Client, request: Request, message: bytes
    ) -> tuple[HTTPStatus, bytes]:
        record = self._desk.record(client, request, Deed.WRITE, self._event)
        reply = await self._intake.accept(message)
        await self._desk.recorded(record)
        if reply.now is None:
            raise Refused(
                bad_request(
                    "not_hl7v2", "the body is no HL7 v2 message: it has no usable MSH segment"
                )
            )
        return _status_of(reply.now), reply.now


def _status_of(acknowledgement: bytes) -> HTTPStatus:
    try:
        code = parse_acknowledgement(acknowledgement).code
    except Hl7Error:
        return HTTPStatus.SERVICE_UNAVAILABLE
    return _STATUS[code.value[1]]


def _config(settings: GatewayHl7v2Section, section: GatewaySection) -> MllpServerConfig:
    """The MLLP server's own rules, for messages that come another way."""
    return MllpServerConfig(
        name=GATEWAY,
        kind="hl7v2.mllp-server",
        listen="127.0.0.1:0",
        event=settings.event,
        charset=settings.charset,
        processing_ids=settings.processing_ids,
        publish_timeout_s=section.request_timeout_s,
        max_message_bytes=section.max_body,
    )


async def _serves_nothing(offer: Offer) -> Offered:
    raise ConfigurationError(f"the gateway offers no service {offer.name}")


def _adapter_runtime(runtime: GatewayRuntime) -> AdapterRuntime:
    """The mesh as an adapter sees it."""
    return AdapterRuntime(
        site=runtime.site,
        site_key=runtime.site_key,
        events=runtime.events,
        counters=runtime.counters,
        clock=runtime.clock,
        random=runtime.random,
        folder=runtime.folder,
        records=runtime.records,
        replicated=False,
        serve=_serves_nothing,
    )


__all__ = ["ER7", "PATH", "TYPES", "Hl7Intake"]
