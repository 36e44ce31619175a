"""Trust on a real server's buckets: two machines learn from each other, through a restart of the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.clock import SystemClock
from bus.transport import nats
from bus.transport.nats import Credentials, NatsTransport
from bus.transport.server import EmbeddedServer
from bus.trust import Trust, TrustSettings
from tests.contract.carriers import eventually
from tests.nats_server import require_server

pytestmark = pytest.mark.server
QUICK = TrustSettings(tick_s=0.1, share_wait_s=20.0)


@pytest.fixture(autouse=True)
def _server_there() -> None:
    require_server()


async def machine(folder: Path, name: str, transport: NatsTransport) -> Trust:
    trust = await Trust.open(
        folder / name,
        mesh="st-elsewhere",
        site="north",
        buckets=transport,
        clock=SystemClock(),
        settings=QUICK,
        authority_folder=folder / "one/authority",
    )
    await trust.start()
    return trust


async def connect(server: EmbeddedServer) -> NatsTransport:
    access = await server.start()
    return await nats.connect(
        access.servers,
        name="trust-test",
        credentials=Credentials(user=access.user, password=access.password),
    )


async def test_certificates_and_keys_pass_between_machines(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "nats")
    here = await connect(server)
    there = await connect(server)
    try:
        one = await machine(tmp_path, "one", here)
        two = await machine(tmp_path, "two", there)
        first = await one.identity("his-out", subscribe=["evt.>"])
        second = await two.identity("his-out", subscribe=["evt.>"])
        assert set(first.kem_keys) == set(second.kem_keys)
        late = await one.identity("emr-in", publish=["evt.>"], subscribe=["ctl.>"])
        await eventually(
            lambda: two.directory.readers("ctl.x") == (late.certificate,),
            "the certificate's arrival",
        )
        await one.stop()
        await two.stop()
    finally:
        await here.close()
        await there.close()
        await server.stop()


async def test_a_machine_comes_back_to_its_mesh(tmp_path: Path) -> None:
    for start in range(2):
        server = EmbeddedServer(tmp_path / "nats")
        transport = await connect(server)
        try:
            trust = await machine(tmp_path, "one", transport)
            assert len(trust.directory.readers("evt.x")) == start
            await trust.identity("his-out", subscribe=["evt.>"])
            assert trust.health().connected
            await trust.stop()
        finally:
            await transport.close()
            await server.stop()
