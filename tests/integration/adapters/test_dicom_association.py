"""Associations over loopback: our requestor with our acceptor, and peers that do not behave."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from adapters.dicom.association import Body
from adapters.dicom.client import Destination, Proposal, associate, propose
from adapters.dicom.dimse.commands import Command, CommandField
from adapters.dicom.dimse.status import Status
from adapters.dicom.negotiation import Support
from adapters.dicom.pace import Deadlines
from adapters.dicom.uids import (
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    VERIFICATION,
    Uid,
)
from adapters.dicom.upper import pdus
from adapters.dicom.upper.errors import (
    AssociationAborted,
    AssociationRejected,
    ProtocolViolation,
)
from adapters.dicom.upper.framing import Limits
from adapters.dicom.upper.pdus import AeTitle, AssociateRequest
from bus.clock import SystemClock
from schemas.errors import DeadlineExceeded, Unavailable
from tests.peers.dicom import MAX_OBJECT_BYTES, Provider

CT = Uid("1.2.840.10008.5.1.4.1.1.2")
FIND = Uid("1.2.840.10008.5.1.4.1.2.2.1")
CONTEXTS = propose(
    (VERIFICATION, (IMPLICIT_LITTLE_ENDIAN,)),
    (CT, (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)),
    (FIND, (IMPLICIT_LITTLE_ENDIAN,)),
)
PROPOSAL = Proposal(contexts=CONTEXTS, deadlines=Deadlines(artim_s=2.0, response_s=5.0))
ECHO = Command(field=CommandField.C_ECHO_RQ, affected_class=VERIFICATION)


def destination(port: int, *, title: str = "MEDMESH") -> Destination:
    return Destination(
        host="127.0.0.1", port=port, title=AeTitle(title), own_title=AeTitle("TESTS")
    )


def store(instance: str) -> Command:
    return Command(
        field=CommandField.C_STORE_RQ,
        priority=0,
        affected_class=CT,
        affected_instance=Uid(instance),
    )


def find() -> Command:
    return Command(field=CommandField.C_FIND_RQ, priority=0, affected_class=FIND)


async def pieces(whole: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(whole), size):
        yield whole[start : start + size]


SIZES = (1, 1_017, 1_018, 1_019, 2_036, 2_037, 300_001)
"""Around the 1 018 bytes of data set that fit into a PDU of 1 024."""


@pytest.mark.parametrize("max_pdu_bytes", [1_024, 131_072])
async def test_what_is_stored_is_what_was_sent(max_pdu_bytes: int) -> None:
    provider = Provider(limits=Limits(max_pdu_bytes=max_pdu_bytes))
    objects = {f"1.2.{size}": bytes(n % 251 for n in range(size)) for size in SIZES}
    async with provider.listening() as port:
        async with associate(destination(port), PROPOSAL, clock=SystemClock()) as association:
            context = association.context_for(CT)
            assert context is not None
            assert context.transfer_syntax == EXPLICIT_LITTLE_ENDIAN
            for name, whole in objects.items():
                answer = await association.ask(context, store(name), whole)
                assert answer.status == Status.SUCCESS
            assert provider.stored == objects
            provider.stored.clear()
            for name, whole in objects.items():
                await association.ask(context, store(name), pieces(whole, 700))
            assert provider.stored == objects
        assert await provider.ends.get() is None


async def test_a_refused_context_is_not_there_and_the_others_are() -> None:
    provider = Provider(supports=lambda name: Support() if name == VERIFICATION else None)
    async with (
        provider.listening() as port,
        associate(destination(port), PROPOSAL, clock=SystemClock()) as association,
    ):
        context = association.context_for(VERIFICATION)
        assert context is not None
        assert association.context_for(CT) is None
        assert (await association.ask(context, ECHO)).status == Status.SUCCESS


async def test_an_unknown_title_is_rejected_with_the_reason() -> None:
    async with Provider().listening() as port:
        with pytest.raises(AssociationRejected, match="called AE title not recognized"):
            async with associate(destination(port, title="OTHER"), PROPOSAL, clock=SystemClock()):
                pass


async def test_nobody_listening_is_unavailable() -> None:
    async with Provider().listening() as port:
        pass
    with pytest.raises(Unavailable, match="cannot be reached"):
        async with associate(destination(port), PROPOSAL, clock=SystemClock()):
            pass


async def test_matches_come_one_by_one_and_in_order() -> None:
    provider = Provider(matches=[b"%06d" % number for number in range(500)])
    async with (
        provider.listening() as port,
        associate(destination(port), PROPOSAL, clock=SystemClock()) as association,
    ):
        context = association.context_for(FIND)
        assert context is not None
        found = [one async for one in association.request(context, find(), b"keys")]
        assert [one.data_set for one in found[:-1]] == provider.matches
        assert [found[0].status, found[-1].status] == [Status.PENDING, Status.SUCCESS]


async def test_leaving_a_query_early_cancels_it_and_the_association_goes_on() -> None:
    provider = Provider(matches=[b"match" * 2_000] * 5_000)
    async with (
        provider.listening() as port,
        associate(destination(port), PROPOSAL, clock=SystemClock()) as association,
    ):
        context = association.context_for(FIND)
        assert context is not None
        async with contextlib.aclosing(association.request(context, find(), b"keys")) as responses:
            await anext(responses)
        await provider.cancelled.wait()
        verification = association.context_for(VERIFICATION)
        assert verification is not None
        assert (await association.ask(verification, ECHO)).status == Status.SUCCESS


@pytest.mark.parametrize(("offered", "most"), [(1, 1), (4, 4), (20, 8)])
async def test_as_many_requests_are_worked_at_once_as_was_agreed(offered: int, most: int) -> None:
    gate = asyncio.Event()
    provider = Provider(window=8, gate=gate)
    async with (
        provider.listening() as port,
        associate(
            destination(port), replace(PROPOSAL, window=offered), clock=SystemClock()
        ) as association,
    ):
        context = association.context_for(CT)
        assert context is not None
        asked = [
            asyncio.create_task(association.ask(context, store(f"1.{number}"), b"x" * 9_000))
            for number in range(20)
        ]
        await provider.has_working(most)
        gate.set()
        answers = await asyncio.gather(*asked)
        assert {one.status for one in answers} == {Status.SUCCESS}
    assert provider.most_working == most
    assert len(provider.stored) == 20


async def test_a_release_waits_for_what_was_asked_before() -> None:
    gate = asyncio.Event()
    provider = Provider(gate=gate)
    async with provider.listening() as port:
        async with associate(destination(port), PROPOSAL, clock=SystemClock()) as association:
            context = association.context_for(CT)
            assert context is not None
            asked = asyncio.create_task(association.ask(context, store("1.2"), b"x"))
            await provider.has_working(1)
            asyncio.get_running_loop().call_soon(gate.set)
        assert (await asked).status == Status.SUCCESS


async def test_an_object_over_the_limit_is_refused_and_the_next_is_taken() -> None:
    provider = Provider()
    async with (
        provider.listening() as port,
        associate(destination(port), PROPOSAL, clock=SystemClock()) as association,
    ):
        context = association.context_for(CT)
        assert context is not None
        over = await association.ask(context, store("1.2"), bytes(MAX_OBJECT_BYTES + 1))
        assert over.status == Status.OUT_OF_RESOURCES
        assert (await association.ask(context, store("1.3"), b"x")).status == Status.SUCCESS


async def stored_at(port: int, body: Body, *, proposal: Proposal = PROPOSAL) -> int:
    """The status that one object is stored with, on an association of its own."""
    async with associate(destination(port), proposal, clock=SystemClock()) as association:
        context = association.context_for(CT)
        assert context is not None
        return (await association.ask(context, store("1.2"), body)).status


async def test_a_provider_that_vanishes_ends_what_waits_for_it() -> None:
    provider = Provider(gate=asyncio.Event())
    async with provider.listening() as port:
        asked = asyncio.create_task(stored_at(port, b"x"))
        await provider.has_working(1)
        await provider.associations[0].abort()
        with pytest.raises(AssociationAborted):
            await asked
        provider.open_gate()


async def test_a_provider_that_does_not_answer_is_given_up() -> None:
    provider = Provider(gate=asyncio.Event())
    hasty = replace(PROPOSAL, deadlines=Deadlines(artim_s=1.0, response_s=0.05))
    async with provider.listening() as port:
        with pytest.raises(DeadlineExceeded, match=r"0\.05 s \(response_timeout_s\)"):
            await stored_at(port, b"x", proposal=hasty)
        provider.open_gate()


REQUEST = pdus.write_request(
    AssociateRequest(called=AeTitle("MEDMESH"), calling=AeTitle("TESTS"), contexts=CONTEXTS)
)
HASTY = Deadlines(artim_s=0.1, idle_s=0.1, message_idle_s=0.1)


async def told(port: int, chunks: Sequence[bytes]) -> bytes:
    """Everything that the provider says to these bytes until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for chunk in chunks:
            writer.write(chunk)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([], id="says nothing"),
        pytest.param([REQUEST[:50]], id="half a request"),
        pytest.param([REQUEST], id="asks and says nothing more"),
        pytest.param([REQUEST, b"\x04\0\0\0\1\0\0\0\0\x10\x03\x03ab"], id="half a fragment"),
    ],
)
async def test_a_peer_that_stops_is_let_go(chunks: list[bytes]) -> None:
    provider = Provider(deadlines=HASTY)
    async with provider.listening() as port:
        await asyncio.wait_for(told(port, chunks), 10)
        assert isinstance(await provider.ends.get(), DeadlineExceeded)


@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param(b"\x04\0\xff\xff\xff\xff" + bytes(100_000), id="P-DATA of 4 GiB"),
        pytest.param(b"\x04\0\0\0\0\x08\0\0\0\x04\x63\x02ab", id="unknown context"),
        pytest.param(b"\x55" * 100_000, id="nonsense"),
        pytest.param(
            b"".join(b"\x04\0\0\0\x40\x06\0\0\x40\x02\x01\x01" + bytes(16_384) for _ in range(5)),
            id="command that never ends",
        ),
    ],
)
async def test_a_peer_that_breaks_the_protocol_is_told_by_an_abort(chunk: bytes) -> None:
    """The abort arrives although the peer still had much to say: the connection is not reset under it."""
    provider = Provider(deadlines=Deadlines(artim_s=0.2))
    async with provider.listening() as port:
        answer = await asyncio.wait_for(told(port, [REQUEST, chunk]), 10)
        assert answer[0] == pdus.PduType.ASSOCIATE_AC
        assert answer[-10:-4] == b"\x07\0\0\0\0\x04"
        assert isinstance(await provider.ends.get(), ProtocolViolation)


async def test_a_peer_that_vanishes_in_the_middle_leaves_nothing_stored() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(400_000)
        raise RuntimeError("enough")

    provider = Provider()
    async with provider.listening() as port:
        with pytest.raises(RuntimeError, match="enough"):
            await stored_at(port, broken())
        assert isinstance(await provider.ends.get(), AssociationAborted)
        assert provider.stored == {}


async def test_a_healthy_peer_is_served_beside_a_hundred_silent_ones() -> None:
    provider = Provider()
    async with provider.listening() as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
        async with associate(destination(port), PROPOSAL, clock=SystemClock()) as association:
            context = association.context_for(VERIFICATION)
            assert context is not None
            assert (await association.ask(context, ECHO)).status == Status.SUCCESS
        for _, writer in silent:
            writer.close()
