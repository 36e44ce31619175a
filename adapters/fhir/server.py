"""The way in: FHIR servers notify and systems send here; 2xx leaves only when what came is stored."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress

from adapters.contract import AdapterRuntime, Condition, Health
from adapters.fhir.asgi import Receiver
from adapters.fhir.config import ReceiverConfig
from adapters.fhir.intake import Intake
from adapters.fhir.listener import Limits, Listener
from adapters.fhir.secrets import read_secrets
from adapters.fhir.settings import AckLevel, split_address
from adapters.fhir.subscriptions import Source
from adapters.fhir.tls import server_context
from adapters.fhir.validation import Validator
from schemas.errors import ConfigurationError, Unavailable


class FhirReceiver:
    """`fhir.receiver`."""

    def __init__(self, config: ReceiverConfig, runtime: AdapterRuntime) -> None:
        if config.ack is AckLevel.REPLICATED and not runtime.replicated:
            raise ConfigurationError(
                f'adapter {config.name}: ack = "replicated" needs a cluster that stores events on two servers or more; '
                'this mesh has one. Use ack = "stored", or give [nats] servers of a cluster'
            )
        self._config = config
        self._runtime = runtime
        self._validator = Validator(
            config.validation, name=config.name, count=self._count, chance=runtime.random
        )
        self._source = (
            Source(config, config.source, runtime, self._store) if config.source else None
        )
        can_fetch = self._source is not None and bool(config.subscribe_to)
        self._intake = Intake(
            config,
            runtime,
            self._validator,
            self._source.fetch if self._source is not None and can_fetch else None,
        )
        self._app = Receiver(config, self._intake, self._count)
        self._listener = Listener(
            self._app,
            Limits(
                allow=tuple(ipaddress.ip_network(cidr, strict=False) for cidr in config.allow),
                max_connections=config.max_connections,
                head_timeout_s=config.head_timeout_s,
                idle_timeout_s=config.idle_timeout_s,
            ),
            self._count,
        )
        self._draining = False

    async def start(self) -> None:
        """Listen. Raises `ConfigurationError` for certificates and secrets, `Unavailable` for the address."""
        config = self._config
        name = f"adapter {config.name}"
        tls = server_context(config.tls, name=name) if config.tls else None
        self._app.secrets = read_secrets(config.token, name=name) if config.token else ()
        host, port = split_address(config.listen)
        handshake_s = config.tls.handshake_timeout_s if config.tls else 0.0
        try:
            await self._listener.open(host, port, tls, handshake_s)
        except OSError as error:
            raise Unavailable(
                f"{name}: cannot listen on {config.listen}: {error.strerror or error}"
            ) from error
        if self._source is not None:
            self._source.start()

    def health(self) -> Health:
        """Say whether resources are taken, and from how many."""
        if not self._listener.is_open:
            return Health(condition=Condition.STOPPED, detail="not listening")
        if self._draining:
            return Health(condition=Condition.DEGRADED, detail="draining: takes nothing new")
        trouble = self._intake.trouble or (self._source.trouble if self._source else "")
        if trouble:
            return Health(condition=Condition.DEGRADED, detail=trouble)
        return Health(
            condition=Condition.HEALTHY,
            detail=f"{self._listener.connections} connections on {self._config.listen}{self._heard()}",
        )

    async def drain(self, *, timeout_s: float) -> None:
        """Stop listening; answer every request in hand."""
        self._draining = True
        self._listener.refuse_new()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._listener.finished()

    async def stop(self) -> None:
        """Close everything at once; what was not answered, its sender sends again."""
        self._draining = True
        await self._listener.close()
        if self._source is not None:
            await self._source.stop()
        await self._validator.stop()

    @property
    def bound_port(self) -> int:
        """The port listened on: the one asked of the system when the configuration says 0."""
        return self._listener.port

    def _heard(self) -> str:
        """When a subscription last showed that it is alive, if it does."""
        heard_ms = self._intake.last_heartbeat_ms
        if not heard_ms:
            return ""
        return f"; last heartbeat {(self._runtime.clock.now_ms() - heard_ms) / 1000:.0f} s ago"

    async def _store(self, bodies: list[bytes]) -> int:
        return await self._intake.store(bodies)

    def _count(self, name: str, reason: str) -> None:
        self._runtime.counters.add(name, who=self._config.name, reason=reason)


__all__ = ["FhirReceiver"]
