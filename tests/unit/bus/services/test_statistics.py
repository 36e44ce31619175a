from __future__ import annotations

import pytest

from bus.services.statistics import BadStatistics, MethodFigures, ask_statistics
from bus.transport.memory import MemoryBroker
from bus.transport.protocol import Incoming, NoResponders, Transport


async def answering(payload: bytes) -> Transport:
    transport = await MemoryBroker().connect()

    def answer(message: Incoming) -> None:
        transport.messenger.send(message.reply, payload)

    await transport.messenger.subscribe("$SRV.STATS.beds.i1", answer)
    return transport


async def test_an_instance_tells_what_it_has_done() -> None:
    transport = await answering(
        b'{"name":"beds","endpoints":[{"name":"free","num_requests":4,"num_errors":1,'
        b'"last_error":"timeout","average_processing_time":1500000,"data":{}}]}'
    )
    assert await ask_statistics(transport.messenger, "beds", "i1") == (
        MethodFigures(
            name="free", requests=4, errors=1, average_ns=1_500_000, last_error="timeout"
        ),
    )


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b'{"endpoints":[{"num_requests":"many"}]}', b"\xff"]
)
async def test_what_is_no_answer_is_said_so(payload: bytes) -> None:
    transport = await answering(payload)
    with pytest.raises(BadStatistics):
        await ask_statistics(transport.messenger, "beds", "i1")


async def test_an_instance_that_has_gone_does_not_answer() -> None:
    transport = await MemoryBroker().connect()
    with pytest.raises(NoResponders):
        await ask_statistics(transport.messenger, "beds", "i1", timeout_s=0.2)
