"""What NATS clients that know nothing of us see: nats-py as it comes, on a real server; and the shipped example."""

from __future__ import annotations

import json
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.micro.service import ServiceInfo, ServicePing, ServiceStats

from bus.envelope.seals import Seals
from bus.services.channel import Carries
from bus.services.protocol import InvalidRequest
from bus.transport import nats as ours
from tests.hospital import start
from tests.nats_server import NatsServer
from tests.shared_data import ROOT
from tests.unit.bus.events.kit import PaperSeals, Vault
from tests.unit.bus.services.serving import Calls, Ward, request, serving


class OnServer:
    """Seals on paper over a real server."""

    def __init__(self, server: NatsServer) -> None:
        self.server = server
        self.vault = Vault()
        self.open: list[ours.NatsTransport] = []

    async def __call__(self, name: str) -> tuple[Carries, Seals]:
        transport = await ours.connect([self.server.url], name=name)
        self.open.append(transport)
        return transport, PaperSeals(self.vault, service=name)


async def told(client: Client, ward: Ward) -> None:
    """Every answer of discovery is what nats-py's own services would say."""
    raw = [
        (await client.request(f"$SRV.{verb}", timeout=5)).data for verb in ("PING", "INFO", "STATS")
    ]
    ping = ServicePing.from_dict(json.loads(raw[0]))
    info = ServiceInfo.from_dict(json.loads(raw[1]))
    stats = ServiceStats.from_dict(json.loads(raw[2]))
    assert {(one.name, one.id, one.version) for one in (ping, info, stats)} == {
        ("beds", "a1", "1.2.0")
    }
    assert [one.subject for one in info.endpoints] == [one.subject for one in stats.endpoints]
    echo = stats.endpoints[0]
    assert (echo.name, echo.num_requests, echo.queue_group) == ("echo", 1, "q.beds")
    assert info.endpoints[0].subject == "svc.north.beds.v1.rpc.echo"


@pytest.mark.server
async def test_stock_client_finds_a_service_and_calls_it_where_the_site_allows_it(
    nats_server: NatsServer,
) -> None:
    connect, calls = OnServer(nats_server), Calls()
    client = await nats.connect(nats_server.url)
    async with serving(connect, calls=calls, offer=calls.offer(takes_plain=True)) as ward:
        plain = await client.request("svc.north.beds.v1.rpc.echo", b"ward 3", timeout=5)
        assert (plain.data, plain.headers) == (b"ward 3", None)
        assert calls.seen[0].caller == ""
        await told(client, ward)
        calls.error = InvalidRequest("bad_ward", "ward: missing")
        failed = await client.request("svc.north.beds.v1.rpc.fail", b"", timeout=5)
        assert failed.headers is not None
        assert int(failed.headers["Nats-Service-Error-Code"]) == 400
        assert failed.headers["Nats-Service-Error"] == "bad_ward: ward: missing"
        sealed = await (await ward.channel()).call(request(body=b"sealed"), timeout_s=5)
        assert sealed.body == b"sealed"
    await client.close()
    for transport in connect.open:
        await transport.close()


async def test_the_example_runs_as_it_stands(tmp_path: Path) -> None:
    child = await start([str(ROOT / "examples/bed_manager.py")])
    await child.ended()
    assert (child.process.returncode, child.lines) == (
        0,
        ["2 free\n", "admissions has bed 7 of 3b\n", "assigned 7\n", "no_free_bed\n"],
    )
