"""A site on the three-node cluster of docker-compose.yml: its configuration, TLS, replicated acknowledgements."""

from __future__ import annotations

import asyncio
import json
import os
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bus.clock import SystemClock
from bus.transport.binary import find_server
from bus.trust.tls import DevelopmentCertificates, development_certificates
from tests.hospital import Sink, Site, eventually, mllp_in, mllp_out, running
from tests.peers.sender import Tally, control_id, send_all, synthetic
from tests.ports import free_port
from tests.shared_data import ROOT

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(240)]

PASSWORD = "only-for-this-test"


@dataclass
class Node:
    """One server of the cluster."""

    process: asyncio.subprocess.Process
    client_port: int
    monitor_port: int

    def has_quorum(self) -> bool:
        """Whether this node sees a leader and both others."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.monitor_port}/jsz", timeout=2
            ) as answer:
                meta = json.load(answer).get("meta_cluster", {})
        except OSError:
            return False
        return bool(meta.get("leader")) and meta.get("cluster_size") == 3


async def node(
    number: int, ports: list[tuple[int, int, int]], files: DevelopmentCertificates, folder: Path
) -> Node:
    """Start one node on the shipped configuration file."""
    client, monitor, route = ports[number]
    routes = ", ".join(f'"tls://127.0.0.1:{other}"' for _, _, other in ports)
    environment = {
        **os.environ,
        "NATS_NODE": f"n{number}",
        "NATS_LISTEN": f"127.0.0.1:{client}",
        "NATS_MONITOR": f"127.0.0.1:{monitor}",
        "NATS_CLUSTER_LISTEN": f"127.0.0.1:{route}",
        "NATS_ROUTES": f"[{routes}]",
        "NATS_STORE": str(folder / f"n{number}"),
        "NATS_CERT": str(files.server_certificate),
        "NATS_KEY": str(files.server_key),
        "NATS_CA": str(files.ca),
        "NATS_USER": "medmesh",
        "NATS_PASSWORD": PASSWORD,
    }
    process = await asyncio.create_subprocess_exec(
        str(find_server().path),
        "-c",
        str(ROOT / "deploy/nats/cluster.conf"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
    )
    return Node(process, client, monitor)


@asynccontextmanager
async def cluster(folder: Path, files: DevelopmentCertificates) -> AsyncIterator[list[Node]]:
    """Three nodes with a leader."""
    ports = [(free_port(), free_port(), free_port()) for _ in range(3)]
    nodes = [await node(number, ports, files, folder) for number in range(3)]
    try:
        await eventually(
            lambda: all(one.has_quorum() for one in nodes),
            within_s=60,
            what="a cluster with a leader",
        )
        yield nodes
    finally:
        for one in nodes:
            if one.process.returncode is None:
                one.process.kill()
            await one.process.wait()


async def test_a_replicated_acknowledgement_survives_the_death_of_a_node(tmp_path: Path) -> None:
    files = development_certificates(tmp_path / "certificates", clock=SystemClock())
    port, sink = free_port(), Sink(tmp_path)
    async with cluster(tmp_path, files) as nodes:
        servers = ", ".join(f'"tls://127.0.0.1:{one.client_port}"' for one in nodes)
        nats = (
            f'[nats]\nservers = [{servers}]\nreplicas = 3\nuser = "medmesh"\n'
            f'[nats.tls]\nca = "{files.ca}"\ncertificate = "{files.client_certificate}"\nkey = "{files.client_key}"\n'
        )
        site = Site(
            tmp_path, mllp_in(port, more='ack = "replicated"') + mllp_out(sink.port), extra=nats
        )
        await sink.start()
        environment = {"MEDMESH_NATS__PASSWORD": PASSWORD}
        async with running(site, sink, environment=environment), asyncio.timeout(150):
            tally, messages = Tally(), [synthetic(n) for n in range(300)]
            sending = asyncio.create_task(send_all(port, messages, tally))
            await eventually(
                lambda: len(tally.accepted) > 100, within_s=60, what="some accepted messages"
            )
            nodes[0].process.kill()
            await sending
            await sink.received(len(messages), within_s=60)
            received = list(dict.fromkeys(control for control, _ in sink.journal.received))
            assert received == [control_id(message).decode() for message in messages]


async def test_replicated_is_refused_where_nothing_is_replicated(tmp_path: Path) -> None:
    site = Site(tmp_path, mllp_in(free_port(), more='ack = "replicated"') + mllp_out(free_port()))
    try:
        with pytest.raises(AssertionError, match="replica"):
            await site.start()
    finally:
        assert site.child is not None
        site.child.kill()
        await site.child.ended()
