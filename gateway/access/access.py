"""`Access` of a gateway: who asks, what it may do, and that it is written down."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, Protocol

from bus.audit import AccessEntry, AccessLog
from bus.telemetry.counters import Counters
from gateway.access.backend import Backend
from gateway.access.keys import PREFIX, ApiKeys
from gateway.access.proofs import Certificates, Identity, client_of, own
from gateway.access.protocol import (
    AccessRecord,
    Client,
    Credentials,
    Forbidden,
    Proof,
    Unauthenticated,
)
from gateway.access.rates import Rates
from gateway.access.rights import ClientRights, Matcher, allows_fhir, call_subject
from gateway.access.sources import Source
from schemas import subjects
from schemas.clock import Clock
from schemas.errors import MeshError
from schemas.gateway.access import ANONYMOUS, ClientSection
from schemas.gateway.scopes import DEEDS

_BEARER: Final = "bearer"
_OPERATOR_DEEDS: Final = frozenset({"view", "find", "replay", "unmask"})
_TYPES: Final = "*"


class Tokens(Protocol):
    """Verifies bearer tokens."""

    async def verify(self, token: str) -> Identity:
        """Whose it is. Raises `Unauthenticated`."""
        ...


class GatewayAccess:
    """`gateway.access.protocol.Access`, from the configuration. Every gateway with the same one decides the same."""

    def __init__(
        self,
        *,
        clients: Sequence[ClientSection],
        rights: Mapping[str, ClientRights],
        tokens: Tokens,
        rates: Rates,
        backend: Backend,
        log: AccessLog,
        clock: Clock,
        counters: Counters,
        sources: Sequence[Source] = (),
    ) -> None:
        self.backend = backend
        """What the token endpoint decides with."""
        self._rights = rights
        self._is_open = self._rights.keys() == {ANONYMOUS}
        self._anonymous = (
            Client(name=ANONYMOUS, proof=Proof.NOTHING, scopes=rights[ANONYMOUS].scopes)
            if self._is_open
            else None
        )
        self._keys = ApiKeys(clients)
        self._by_name: dict[tuple[str, int], Client] = {}
        """Clients whose key was verified, by name and end of the key: no more than there are keys."""
        self._certificates = Certificates(clients)
        self._rates = rates
        self._tokens = tokens
        self._log = log
        self._clock = clock
        self._counters = counters
        self._sources = tuple(sources)

    @property
    def is_anonymous(self) -> bool:
        """Whether there are no clients, so that whoever may use this machine may do everything.

        Fronts must then refuse requests whose `Host` or `Origin` is another machine's: a browser would send them.
        """
        return self._is_open

    async def start(self) -> None:
        """Read key sets. Raises `ConfigurationError` for a file that cannot be read."""
        for one in self._sources:
            await one.start()

    async def drain(self) -> None:
        """Return when every record has its answer."""
        await self._log.drain()

    async def stop(self) -> None:
        """Stop at once."""
        await self._log.stop()
        await asyncio.gather(*(one.stop() for one in self._sources))

    async def identify(self, credentials: Credentials) -> Client:
        """See `Access.identify`."""
        if self._anonymous is not None and not credentials.purpose:
            return self._anonymous
        try:
            client = self._by_key_alone(credentials)
            if client is None:
                client = client_of(await self._identity(credentials), credentials)
        except Unauthenticated:
            self._counters.add("access_refused", who="gateway", reason=Unauthenticated.code)
            raise
        return client

    def _by_key_alone(self, credentials: Credentials) -> Client | None:
        """Whose key that is, where there is one in its own header and nothing else to look at."""
        if not credentials.api_key or self._is_open:
            return None
        if credentials.authorization or credentials.certificate_names or credentials.purpose:
            return None
        name, until_ms = key = self._keys.verify(credentials.api_key, now_ms=self._clock.now_ms())
        client = self._by_name.get(key)
        if client is None:
            identity = own(name, Proof.API_KEY, self._rights[name], expires_ms=until_ms)
            self._by_name[key] = client = client_of(identity, credentials)
        return client

    async def _identity(self, credentials: Credentials) -> Identity:
        if self._is_open:
            return own(ANONYMOUS, Proof.NOTHING, self._rights[ANONYMOUS])
        owner = self._certificates.owner(credentials.certificate_names)
        identity = await self._from_request(credentials)
        if identity is None:
            if owner:
                return own(owner, Proof.CERTIFICATE, self._rights[owner])
            if credentials.certificate_names:
                raise Unauthenticated("the certificate is of no client that is known here")
            raise Unauthenticated("no credentials: send an API key or a bearer token")
        if owner and owner != identity.client:
            raise Unauthenticated("the certificate and the other proof are of two clients")
        if identity.bound_to and identity.bound_to != credentials.certificate_hash:
            raise Unauthenticated(
                "the token is bound to a certificate with which it did not come",
                challenge='Bearer error="invalid_token"',
            )
        return identity

    async def _from_request(self, credentials: Credentials) -> Identity | None:
        if credentials.api_key and credentials.authorization:
            raise Unauthenticated("two proofs in one request: send X-Api-Key or Authorization")
        if credentials.api_key:
            return self._by_key(credentials.api_key)
        if not credentials.authorization:
            return None
        scheme, _, token = credentials.authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != _BEARER or not token:
            raise Unauthenticated("Authorization must be: Bearer, a space, and a token or API key")
        return self._by_key(token) if token.startswith(PREFIX) else await self._tokens.verify(token)

    def _by_key(self, text: str) -> Identity:
        name, until_ms = self._keys.verify(text, now_ms=self._clock.now_ms())
        return own(name, Proof.API_KEY, self._rights[name], expires_ms=until_ms)

    def admit(self, client: Client) -> None:
        """See `Access.admit`."""
        try:
            self._rates.admit(client.name, now_s=self._clock.monotonic_s())
        except MeshError as error:
            self._counters.add("access_refused", who=client.name, reason=error.code)
            raise

    def may_publish(self, client: Client, subject: str) -> None:
        """See `Access.may_publish`. Raises `SubjectError` for what is no subject."""
        self._ask(client, "publish", self._of(client).publish, _checked(subject))

    def may_subscribe(self, client: Client, pattern: str) -> None:
        """See `Access.may_subscribe`. Raises `SubjectError` for what is no pattern."""
        self._ask(client, "subscribe", self._of(client).subscribe, subjects.pattern(pattern))

    def may_call(self, client: Client, service: str, method: str) -> None:
        """See `Access.may_call`; `lab.v2` asks for version 2, `lab` for version 1. Raises `SubjectError`."""
        self._ask(client, "call", self._of(client).call, call_subject(service, method))

    def may_fhir(self, client: Client, resource_type: str, deed: str) -> None:
        """See `Access.may_fhir`."""
        self._of(client)
        is_allowed = len(deed) == 1 and deed in DEEDS
        confined = bool(client.compartment)
        if not is_allowed or not allows_fhir(client.scopes, resource_type, deed, confined=confined):
            raise self._refusal(client, f"may not {resource_type}.{deed} (its scopes: fhir)")

    def may_operate(self, client: Client, deed: str) -> None:
        """See `Access.may_operate`."""
        rights = self._of(client)
        if deed not in _OPERATOR_DEEDS & rights.operate or "mesh/operate" not in client.scopes:
            raise self._refusal(client, f"may not {deed} in the console (its right: operate)")

    async def record(self, record: AccessRecord) -> None:
        """See `Access.record`."""
        await self.begin(record)

    def begin(self, record: AccessRecord) -> asyncio.Future[None]:
        """See `Begins.begin`."""
        client = record.client
        return self._log.begin(
            AccessEntry(
                at_ms=self._clock.now_ms(),
                client=client.name,
                proof=client.proof._value_,
                deed=record.deed._value_,
                what=record.what,
                allowed=record.allowed,
                status=record.status,
                user=client.user,
                purpose=client.purpose,
                remote=record.remote,
                details=record.details,
            )
        )

    def _of(self, client: Client) -> ClientRights:
        rights = self._rights.get(client.name)
        if rights is None:
            raise self._refusal(client, "is not configured")
        return rights

    def _ask(self, client: Client, right: str, matcher: Matcher, what: str) -> None:
        if f"mesh/{right}" not in client.scopes or not matcher.covers(what):
            raise self._refusal(client, f"may not {right} that (its right: {right})")

    def _refusal(self, client: Client, why: str) -> Forbidden:
        self._counters.add("access_refused", who=client.name, reason=Forbidden.code)
        return Forbidden(f"client {client.name} {why}")


@lru_cache(maxsize=1024)
def _checked(text: str) -> str:
    """A subject. Raises `SubjectError`."""
    return subjects.subject(text)


__all__ = ["GatewayAccess", "Tokens"]
