"""What happens to one body that came in: read as far as it must be, stored, answered with what is true."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from adapters.contract import AdapterRuntime
from adapters.fhir.codec.errors import FhirError, UnreadableResource
from adapters.fhir.codec.notification import Kind, Notification, read_notification
from adapters.fhir.codec.outcome import operation_outcome
from adapters.fhir.codec.partial import read_head
from adapters.fhir.config import ReceiverConfig
from adapters.fhir.convert import Intent, to_event
from adapters.fhir.judge import Finding
from adapters.fhir.settings import Bundles, split_event
from adapters.fhir.validation import ValidationFailed, Validator
from bus.envelope.types import ContentTooLarge, NobodyMayRead
from bus.transport.protocol import PayloadTooLarge
from schemas.errors import MeshError
from schemas.registry.errors import SchemaRefused

_LATER_S: Final = 5
_SHOWN: Final = 20

Fetch = Callable[[], Awaitable[int]]
"""Fetch from the source what changed, and store it; how many resources. Raises `MeshError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What to answer: a status and an OperationOutcome."""

    status: HTTPStatus
    body: bytes = field(repr=False)
    retry_after_s: int = 0


def refusal(status: HTTPStatus, code: str, text: str, *, retry_after_s: int = 0) -> Reply:
    """A negative answer. `code` is of FHIR's issue-type; `text` is ours and holds nothing of the body."""
    return Reply(status=status, body=operation_outcome(code, text), retry_after_s=retry_after_s)


def _accepted(text: str) -> Reply:
    body = operation_outcome("informational", text, severity="information")
    return Reply(status=HTTPStatus.OK, body=body)


class Intake:
    """Works the bodies of one receiver; knows nothing of sockets."""

    def __init__(
        self,
        config: ReceiverConfig,
        runtime: AdapterRuntime,
        validator: Validator,
        fetch: Fetch | None,
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._validator = validator
        self._fetch = fetch
        self._intent = Intent(
            site=runtime.site,
            site_key=runtime.site_key,
            adapter=config.name,
            event=split_event(config.event),
            events={kind: split_event(name) for kind, name in config.event_by_type.items()},
        )
        self.trouble = ""
        """Why the last body could not be stored, for operators; empty when it was."""
        self.last_heartbeat_ms = 0
        """When the last heartbeat of a subscription came; 0: none yet."""

    async def accept(self, body: bytes, *, wanted_type: str = "", wanted_id: str = "") -> Reply:
        """Store one body and say what to answer; 2xx only once it is stored. Never raises a `MeshError`.

        `wanted_type` and `wanted_id` are what the address says, and the body must agree.
        """
        try:
            return await self._accept(body, wanted_type, wanted_id)
        except UnreadableResource as error:
            return self._refused(HTTPStatus.BAD_REQUEST, "structure", str(error), error.code)
        except ValidationFailed as error:
            return self._later(error)
        except FhirError as error:
            return self._refused(HTTPStatus.BAD_REQUEST, "invalid", str(error), error.code)
        except MeshError as error:
            return self._not_stored(error)

    async def _accept(self, body: bytes, wanted_type: str, wanted_id: str) -> Reply:
        if not body.strip():
            return await self._empty(wanted_type)
        head = read_head(body)
        if wanted_type not in ("", head.resource_type) or wanted_id not in ("", head.id):
            text = "the address names another resource than the body"
            return self._refused(HTTPStatus.BAD_REQUEST, "invalid", text, "address_mismatch")
        notification = read_notification(body) if head.resource_type == "Bundle" else None
        if notification is None:
            return await self._take([body])
        self._count("notification_received", notification.kind.value)
        return await self._notified(notification, body)

    async def _notified(self, notification: Notification, body: bytes) -> Reply:
        match notification.kind:
            case Kind.HANDSHAKE:
                return _accepted("handshake answered")
            case Kind.HEARTBEAT:
                self.last_heartbeat_ms = self._runtime.clock.now_ms()
                return _accepted("heartbeat seen")
            case Kind.EVENT | Kind.STATUS | Kind.EVENTS:
                pass
        if notification.is_complete and self._config.bundles is Bundles.ENTRIES:
            return await self._take(list(notification.resources))
        if not notification.is_complete and self._fetch is not None:
            return await self._nudged(self._fetch)
        return await self._take([body])

    async def _empty(self, wanted_type: str) -> Reply:
        """Nothing was sent: a notification where the source can be asked what changed, elsewhere a mistake."""
        if self._fetch is not None and not wanted_type:
            return await self._nudged(self._fetch)
        if wanted_type:
            text = f"the body is empty: send the {wanted_type} as application/fhir+json"
        else:
            text = (
                "the body is empty: send a resource or a bundle as application/fhir+json; a notification without "
                "content needs [adapter.source] and subscribe_to at this receiver"
            )
        return self._refused(HTTPStatus.BAD_REQUEST, "required", text, "no_content")

    async def _nudged(self, fetch: Fetch) -> Reply:
        """The source is asked what changed, and only then is its notification answered."""
        return _accepted(f"{await fetch()} resources fetched and stored")

    async def _take(self, bodies: list[bytes]) -> Reply:
        for body in bodies:
            findings = await self._validator.findings(body)
            if findings:
                return self._invalid(findings)
        stored = await self.store(bodies)
        return _accepted(f"{stored} stored as {self._config.ack.value}")

    async def store(self, bodies: list[bytes]) -> int:
        """Store each body as an event; returns when all of them are. Raises `MeshError` when one is not."""
        now_ms = self._runtime.clock.now_ms()
        events = [to_event(body, self._intent, received_ms=now_ms) for body in bodies]
        # one after the other where several are of one patient: their order is kept by the order of the calls
        results = await asyncio.gather(
            *(
                self._runtime.events.publish(event, timeout_s=self._config.publish_timeout_s)
                for event in events
            ),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
            self._count("resource_stored", "duplicate" if result.duplicate else "")
        self.trouble = ""
        return len(results)

    def _invalid(self, findings: tuple[Finding, ...]) -> Reply:
        self._count("resource_refused", "fhir_invalid")
        paths = tuple(one.path for one in findings[:_SHOWN])
        text = ", ".join(f"{one.path}: {one.code}" for one in findings[:_SHOWN])
        body = operation_outcome("invalid", text, expressions=paths)
        return Reply(status=HTTPStatus.UNPROCESSABLE_ENTITY, body=body)

    def _refused(self, status: HTTPStatus, code: str, text: str, reason: str) -> Reply:
        self._count("resource_refused", reason)
        return refusal(status, code, text)

    def _later(self, error: MeshError) -> Reply:
        self._count("resource_refused", error.code)
        text = f"not stored: {error.code}; send it again later"
        return refusal(HTTPStatus.SERVICE_UNAVAILABLE, "transient", text, retry_after_s=_LATER_S)

    def _not_stored(self, error: MeshError) -> Reply:
        """What a failed publish means to the sender."""
        if isinstance(error, ContentTooLarge | PayloadTooLarge):
            text = f"not stored: {error}"
            return self._refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-long", text, error.code)
        if isinstance(error, SchemaRefused):  # the text names the binding and types, nothing else
            text = f"not stored: {error}"
            return self._refused(HTTPStatus.UNPROCESSABLE_ENTITY, "not-supported", text, error.code)
        if isinstance(error, NobodyMayRead):
            return self._unread(error)
        self.trouble = f"cannot store: {error.code}"
        self._count("resource_refused", error.code)
        text = f"not confirmed: {error.code}; it may be stored already, and sending it again unchanged is safe"
        return refusal(HTTPStatus.SERVICE_UNAVAILABLE, "transient", text, retry_after_s=_LATER_S)

    def _unread(self, error: NobodyMayRead) -> Reply:
        """No service subscribes: sending it again helps nobody until an operator has acted, so it is no 503."""
        event = self._config.event
        others = "".join(f", {one}" for one in dict.fromkeys(self._config.event_by_type.values()))
        self.trouble = f"{error.code}: no adapter subscribes to what becomes of the last resource ({event}{others})"
        text = (
            f"not stored: at this site no service may read such a resource (events {event}{others}). Sending it again "
            "does not help; its operator has to let an adapter subscribe, or change event or event_by_type"
        )
        return self._refused(HTTPStatus.UNPROCESSABLE_ENTITY, "not-supported", text, error.code)

    def _count(self, name: str, reason: str) -> None:
        self._runtime.counters.add(name, who=self._config.name, reason=reason)


__all__ = ["Fetch", "Intake", "Reply", "refusal"]
