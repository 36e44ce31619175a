"""What the tests of the FHIR adapters are made of: resources, a running adapter, an event."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from adapters.contract import AdapterRuntime
from adapters.fhir import CLIENT, RECEIVER
from adapters.fhir.client import FhirSender
from adapters.fhir.server import FhirReceiver
from bus.clock import SystemClock
from bus.events.protocol import Events, NewEvent
from schemas import subjects
from schemas.subjects import Domain
from tests.unit.adapters.parts import SITE, runtime

FHIR_JSON = "application/fhir+json"
SYSTEM = "http://hospital.example/mrn"


def patient(id: str = "p1", *, family: str = "EXAMPLE", identifier: str = "") -> bytes:
    """A patient with a text that no serialiser would write again as it is."""
    own = f'"identifier" : [{{"system":"{SYSTEM}", "value":"{identifier}"}}],' if identifier else ""
    key = f'"id": "{id}",' if id else ""
    return (
        f'{{ "resourceType":"Patient",\r\n {key} {own} "name":[{{"family":"{family}"}}],'
        f'"extension":[{{"url":"http://e.example/w","valueDecimal":1.500}}] }}\n'
    ).encode()


def observation(id: str, *, subject: str = "Patient/p1", value: str = "1.0") -> bytes:
    return (
        f'{{"resourceType":"Observation","id":"{id}","status":"final","code":{{"text":"x"}},'
        f'"subject":{{"reference":"{subject}"}},"valueQuantity":{{"value":{value}}}}}'
    ).encode()


def bundle(type: str, *entries: tuple[str, bytes]) -> bytes:
    """A bundle of (`PUT Patient/p1`, resource)."""
    parts = []
    for request, body in entries:
        method, url = request.split(" ", 1)
        parts.append(
            b'{"resource":%b,"request":{"method":"%b","url":"%b"}}'
            % (body, method.encode(), url.encode())
        )
    return b'{"resourceType":"Bundle","type":"%b","entry":[%b]}' % (type.encode(), b",".join(parts))


def event(
    body: bytes,
    number: int = 1,
    *,
    partition: int = 5,
    type: str = FHIR_JSON,
    name: str = "updated",
) -> NewEvent:
    return NewEvent(
        subject=subjects.event(SITE, Domain.PATIENT, name, partition),
        type=type,
        body=body,
        message_id=number.to_bytes(16, "big"),
        received_ms=1_800_000_000_000,
    )


RETRY = {"first_delay_s": 0.01, "longest_delay_s": 0.05}


@contextlib.asynccontextmanager
async def fhir_client(
    events: Events, folder: Path, base: str, **settings: Any
) -> AsyncIterator[tuple[FhirSender, AdapterRuntime]]:
    """A running `fhir.client`."""
    ordinary = {
        "name": "repository",
        "kind": "fhir.client",
        "base": base,
        "subscribe": "evt.north.patient.>",
        "retry": RETRY,
    }
    config = CLIENT.config.model_validate(ordinary | settings)
    own = runtime(events, folder, clock=SystemClock())
    sender = FhirSender(config, own)
    await sender.start()
    try:
        yield sender, own
    finally:
        await sender.stop()


@contextlib.asynccontextmanager
async def fhir_receiver(
    events: Events, folder: Path, **settings: Any
) -> AsyncIterator[tuple[FhirReceiver, AdapterRuntime]]:
    """A running `fhir.receiver`; its port is `receiver.bound_port`."""
    ordinary = {"name": "fhir-in", "kind": "fhir.receiver", "listen": "127.0.0.1:0"}
    config = RECEIVER.config.model_validate(ordinary | settings)
    own = runtime(events, folder, clock=SystemClock())
    receiver = FhirReceiver(config, own)
    await receiver.start()
    try:
        yield receiver, own
    finally:
        await receiver.stop()


def endpoint(receiver: FhirReceiver) -> str:
    return f"http://127.0.0.1:{receiver.bound_port}/fhir"


def notification(kind: str, *resources: bytes, release: str = "R5") -> bytes:
    """A notification bundle as R4 (backport), R4B or R5 have it."""
    if release == "R4":
        status = (
            '{"resourceType":"Parameters","parameter":[{"name":"subscription","valueReference":'
            '{"reference":"Subscription/s1"}},{"name":"type","valueCode":"KIND"}]}'
        )
    else:
        status = (
            '{"resourceType":"SubscriptionStatus","status":"active","type":"KIND",'
            '"subscription":{"reference":"Subscription/s1"}}'
        )
    type_ = "subscription-notification" if release == "R5" else "history"
    entries = [status.replace("KIND", kind).encode(), *resources]
    joined = b",".join(b'{"resource": %b }' % one for one in entries)
    return b'{"resourceType":"Bundle","type":"%b","entry":[%b]}' % (type_.encode(), joined)
