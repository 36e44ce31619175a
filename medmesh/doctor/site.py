"""Checks of a site: configuration, ports, nats-server, and, where it runs, streams, consumers and certificates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bus.telemetry.counters import Counters
from bus.transport.binary import find_server
from bus.transport.server import running_server
from bus.trust import Trust
from medmesh.config import Configuration, ConfigurationProblems, load
from medmesh.config.checks import listeners
from medmesh.doctor.finding import Finding, good, note, wrong
from medmesh.doctor.machine import check_machine
from medmesh.doctor.ports import check_port
from medmesh.doctor.sizes import check_sizes
from medmesh.doctor.streams import check_streams
from medmesh.doctor.trust import check_trust
from medmesh.runtime.connection import SiteConnection
from schemas.clock import Clock
from schemas.config import SiteConfig
from schemas.errors import ConfigurationError, MeshError

_PARENT: Final = 1


async def examine(file: Path | None, flags: Sequence[str], clock: Clock) -> list[Finding]:
    """Everything that can be checked now; what needs a running mesh is left out, with a note, when none runs."""
    configuration, findings = _configuration(file, flags)
    settings = configuration.settings if configuration else SiteConfig()
    machine = check_machine(settings.mesh.data, clock, event_bytes=settings.limits.event_bytes)
    if configuration is None:
        return [*machine, *findings]
    findings += _server_program(configuration)
    access = running_server(settings.mesh.data / "nats")
    ours = frozenset({access.pid, *_parents(access.pid)}) if access else frozenset[int]()
    for adapter in configuration.adapters:
        findings += [check_port(adapter.config.name, one, ours=ours) for one in adapter.addresses]
    for listener in listeners((), settings.gateway):
        findings.append(check_port(listener.owner, listener.address, ours=ours))
    if access is None and not settings.nats.servers:
        findings.append(
            note(
                "server",
                "running",
                f"no mesh runs on {settings.mesh.data}",
                "start it with `medmesh up`; streams, consumers and freshness are checked while it runs",
            )
        )
        findings += await _trust_at_rest(configuration, clock)
    else:
        findings += await _running(configuration, clock)
    return [*machine, *findings]


def _configuration(
    file: Path | None, flags: Sequence[str]
) -> tuple[Configuration | None, list[Finding]]:
    area = "configuration"
    try:
        configuration = load(file, flags=flags)
    except ConfigurationProblems as problems:
        return None, [
            wrong(area, problem.key or "file", problem.text, "change it as it says")
            for problem in problems.problems
        ]
    except ConfigurationError as error:
        return None, [wrong(area, "file", str(error), "name the file with -c, or write one")]
    count = len(configuration.adapters)
    has_gateway = configuration.settings.gateway is not None
    if not count and not has_gateway:
        return configuration, [
            wrong(
                area,
                "adapters",
                "none is configured",
                "add an [[adapter]] or a [gateway]: there is nothing to do",
            )
        ]
    words = f"{count} adapters{' and a gateway' if has_gateway else ''}, all good"
    return configuration, [good(area, str(configuration.file), words)]


def _server_program(configuration: Configuration) -> list[Finding]:
    if configuration.settings.nats.servers:
        return []
    try:
        binary = find_server()
    except ConfigurationError as error:
        return [wrong("server", "nats-server", str(error), "see the message")]
    version = ".".join(map(str, binary.version))
    return [good("server", "nats-server", f"{version} at {binary.path} (by {binary.origin})")]


def _parents(pid: int) -> list[int]:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return [int(stat.rpartition(")")[2].split()[_PARENT])]


async def _running(configuration: Configuration, clock: Clock) -> list[Finding]:
    connection = SiteConnection(
        configuration, name="doctor", clock=clock, counters=Counters(), owns_server=False
    )
    try:
        await connection.start()
    except MeshError as error:
        await connection.stop()
        return [wrong("server", "reachable", str(error), "see the message; is the server up?")]
    try:
        return [
            good("server", "reachable", connection.server),
            *check_sizes(configuration, connection.transport.max_payload),
            *await check_streams(connection, clock),
            *check_trust(connection.trust, configuration, clock),
        ]
    except MeshError as error:
        return [
            wrong("server", "answers", str(error), "is JetStream enabled, and the server well?")
        ]
    finally:
        await connection.stop()


async def _trust_at_rest(configuration: Configuration, clock: Clock) -> list[Finding]:
    folder = configuration.settings.mesh.data / "trust"
    if not folder.exists():
        return [note("trust", "keys", f"{folder} is made at the first start")]
    mesh = configuration.settings.mesh
    try:
        trust = await Trust.open(
            folder,
            mesh=mesh.name,
            site=mesh.site,
            buckets=None,
            clock=clock,
            create_authority=False,
        )
    except MeshError as error:
        return [wrong("trust", "keys", str(error), "see the message: it has the command")]
    await trust.stop()
    return [good("trust", "keys", f"{folder} is whole and only its owner may read it")]


__all__ = ["examine"]
