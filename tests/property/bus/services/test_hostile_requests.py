"""No payload, subject or reply stops a server: it is counted, and the next call is answered."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from bus.envelope.seals import Seals
from bus.envelope.types import Plain
from bus.transport.protocol import Incoming
from schemas.generated.medmesh.content.v1 import content_pb2 as pb
from schemas.generated.medmesh.envelope.v1 import envelope_pb2
from tests.unit.bus.services.serving import Calls, Paper, request, serving

SUBJECTS = st.sampled_from(
    [
        "svc.north.beds.v1.rpc.echo",
        "svc.north.beds.v1.i.a1.echo",
        "svc.north.beds.v1.i.a2.echo",
        "svc.north.beds.v1.rpc.echo.more",
        "svc.north.beds.v1.rpc.",
        "",
    ]
)
REPLIES = st.sampled_from(["", "_INBOX.x.1", "evt.north.raw.hl7v2.1", "$SYS.REQ", "_INBOX"])

envelopes = st.builds(
    lambda *parts: envelope_pb2.Envelope(
        batch=parts[0], head=parts[1], body=parts[2], path=parts[3], sig=parts[4]
    ).SerializeToString(),
    *[st.binary(max_size=60)] * 5,
)
contents = st.builds(
    pb.Content,
    id=st.binary(max_size=20),
    type=st.text(max_size=10),
    raw_size=st.integers(0, 1 << 40),
    body=st.binary(max_size=30),
    encoding=st.sampled_from([0, 1, 2, 9]),
    call=st.none()
    | st.builds(
        pb.Call,
        timeout_ms=st.integers(0, (1 << 32) - 1),
        attempt=st.integers(0, (1 << 32) - 1),
        priority=st.integers(-5, 9),
    ),
)


@given(st.lists(st.tuples(SUBJECTS, REPLIES, st.binary(max_size=80) | envelopes | contents)))
@settings(max_examples=60, deadline=None)
def test_server_goes_on(messages: list[tuple[str, str, bytes | pb.Content]]) -> None:
    asyncio.run(_attack(messages))


async def _attack(messages: list[tuple[str, str, bytes | pb.Content]]) -> None:
    paper = Paper()
    for takes_plain in (False, True):
        async with serving(paper, offer=Calls().offer(takes_plain=takes_plain)) as ward:
            _, seals = await paper("emr")
            endpoints = ward.server._endpoints  # the carrier hands it whatever came
            assert endpoints is not None
            for subject, reply, payload in messages:
                raw = payload if isinstance(payload, bytes) else _sealed(seals, subject, payload)
                endpoints.take(Incoming(subject=subject, payload=raw, reply=reply))
            answer = await (await ward.channel()).call(request(), timeout_s=20)
            assert answer.body == b"ward 3"
            await asyncio.wait_for(endpoints.idle(), 20)
            assert ward.admission.in_flight == 0
            assert ward.counters.get("request_crashed") == 0


def _sealed(seals: Seals, subject: str, content: pb.Content) -> bytes:
    plain = Plain(subject=subject, content=content, reply_to="ctl.north.answers.emr")
    return seals.seal([plain]).envelopes[0]
