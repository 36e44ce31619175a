"""The seams of services: who runs, whom to call, what went wrong. Each part stands behind one of these Protocols.

`Caller` (retries, hedges, budgets) asks `Picker` (balancing), which asks `Registry` (who runs); the request then goes
through `Channel` (seal, send, open), the transport, `Server` and `Admission` (shedding) to the handler.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, Protocol

from bus.flow.priority import Priority
from schemas.errors import MeshError, ResourceExhausted, Unavailable


class NoInstance(Unavailable):
    """No instance of the service runs, or none may be asked now."""

    code: ClassVar[str] = "no_instance"


class Overloaded(ResourceExhausted):
    """The instance shed the call before any work was done. `retry_after_s`: not sooner than that."""

    code: ClassVar[str] = "overloaded"
    retryable: ClassVar[bool] = True

    def __init__(self, detail: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class CallFailed(MeshError):
    """The service answered with an error of its own. `reason` is its stable code; never content."""

    code: ClassVar[str] = "call_failed"

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class CallRefused(CallFailed, PermissionError):
    """The service does not let this caller do that."""

    code: ClassVar[str] = "call_refused"


class InvalidRequest(CallFailed, ValueError):
    """The service cannot read the request, or it is outside of what is allowed."""

    code: ClassVar[str] = "invalid_request"


class NotFoundThere(CallFailed, LookupError):
    """The service has no such thing, or no such method."""

    code: ClassVar[str] = "not_found_there"


class BadAnswer(MeshError):
    """The response is not believed: wrong sender, not bound to the request, or unreadable."""

    code: ClassVar[str] = "bad_answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How busy an instance is, by its own words."""

    in_flight: int = 0
    limit: int = 0
    """How many calls it works at a time; 0: not told."""
    oldest_s: float = 0.0
    """Age of the oldest request in work."""
    answered: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One running instance of a service, as discovery knows it."""

    service: str
    id: str
    """One token; also in its subjects."""
    version: str
    site: str
    zone: str = ""
    methods: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    connection: str = ""
    """Name of its connection to the carrier."""
    started_ms: int = 0
    weight: int = 100
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def major(self) -> int:
        """Major version: the v<major> of its subjects."""
        return int(self.version.partition(".")[0])


class Health(Enum):
    """What is thought of an instance now."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    """Heartbeats are late, or it is wedged: asked only when nobody else is there."""
    EJECTED = "ejected"
    """Its answers were too often errors or late: left out for a while, then tried again."""
    DRAINING = "draining"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An instance together with what is known of it now."""

    instance: Instance
    health: Health = Health.HEALTHY
    reason: str = ""
    """Why it is not healthy: a stable code for operators (`heartbeat_late`, `wedged`, `disconnected`, …)."""
    load: Load = field(default_factory=Load)
    heard_s: float = 0.0
    """When it was last heard of, on the clock's monotonic scale."""


class Registry(Protocol):
    """Who runs: a table in memory, which goes on to answer while the registry's server is away."""

    def instances(self, service: str, major: int) -> Sequence[Seen]:
        """Every known instance of one major version, those that may not be asked included."""
        ...

    def services(self) -> Mapping[str, Sequence[Seen]]:
        """Everything known, by service."""
        ...

    def missing(self, instance: Instance) -> None:
        """A caller found that nobody listens there any more: out of the table until it is heard of again."""
        ...

    def heard(self, service: str, instance: str, load: Load) -> None:
        """A response came from there, with its load."""
        ...

    def on_change(self, changed: Callable[[Seen], None]) -> Callable[[], None]:
        """Be told of each instance that comes, changes its health or goes; returns how to stop."""
        ...


class Outcome(Enum):
    """How one try ended, for balancing and breakers."""

    ANSWERED = "answered"
    """Also with an error of the service's own: the instance works."""
    OVERLOADED = "overloaded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    MISSING = "missing"
    """Nobody listened: nothing was done there."""
    CANCELLED = "cancelled"
    """The caller went away, or a hedge was faster: says nothing about the instance but its load."""


class Attempt(Protocol):
    """One try at one instance, under way."""

    @property
    def instance(self) -> Instance:
        """Who was chosen."""
        ...

    def ended(self, outcome: Outcome) -> None:
        """Report how it ended; exactly once."""
        ...


class Picker(Protocol):
    """Chooses an instance for each try, from what the registry knows and what this process has seen."""

    def pick(self, *, key: bytes = b"", exclude: frozenset[str] = frozenset()) -> Attempt:
        """Begin a try. `key` sticks to one instance by consistent hashing; `exclude` holds instances tried before.

        Raises `NoInstance`, `Overloaded` (every breaker is open).
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call as it travels."""

    service: str
    major: int
    method: str
    type: str
    """What the body is, as in `Content.type`."""
    body: bytes = field(repr=False)
    id: bytes = b""
    """16 bytes, the same for each try of one call: handlers that must not act twice compare it. Empty: fresh."""
    attempt: int = 1
    priority: Priority = Priority.ROUTINE
    traceparent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer that was opened and verified: from the service that was asked, to this request."""

    type: str
    body: bytes = field(repr=False)
    instance: str = ""
    load: Load = field(default_factory=Load)


class Agreement(Protocol):
    """What the requests and answers of methods are bound to. Both methods answer at once and raise `SchemaRefused`."""

    def check_request(self, subject: str, content_type: str, body: bytes) -> None:
        """Before anybody is asked; `subject` is that of the method, whichever instance is asked."""
        ...

    def check_answer(self, subject: str, content_type: str, body: bytes) -> None:
        """Before the caller gets it."""
        ...


class Channel(Protocol):
    """Sends one sealed request and opens its response. No policy."""

    async def call(
        self, request: Request, *, timeout_s: float, instance: str = "", site: str = ""
    ) -> Response:
        """Ask one instance, or with `instance` empty whichever the queue group gives.

        Raises `NoResponders` (nobody listens: surely nothing was done), `Overloaded`, `DeadlineExceeded`, `CallFailed`
        and its kin, `Unavailable`, `BadAnswer`, `PermissionRefused`. Cancelling it abandons the answer.
        """
        ...


class Admission(Protocol):
    """Decides at the server, before any work, whether a request is worked."""

    def admit(self, priority: Priority, *, waited_s: float, left_s: float) -> None:
        """Take one in. `waited_s`: since it was sent; `left_s`: until its deadline. Raises `Overloaded`."""
        ...

    def done(self, took_s: float, *, ok: bool) -> None:
        """One that was admitted has ended."""
        ...

    @property
    def in_flight(self) -> int:
        """How many are in work."""
        ...

    @property
    def limit(self) -> int:
        """How many may be, now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """What a handler knows about the call that it works."""

    caller: str
    """Name of the calling service, from its certificate."""
    method: str
    id: bytes
    attempt: int
    priority: Priority
    left_s: Callable[[], float]
    """Seconds until the caller stops waiting: calls made in turn get no more than that."""
    traceparent: str = ""


Handler = Callable[[bytes, CallContext], Awaitable[bytes]]
"""Works one request: encoded body in, encoded body out. A raised `CallFailed` is told to the caller as it is; any other
error is told by its code alone, without its words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method that a service offers."""

    name: str
    handler: Handler
    request_type: str = "application/octet-stream"
    response_type: str = "application/octet-stream"
    request_schema: str = ""
    """JSON schema or protobuf message name, for discovery."""
    response_schema: str = ""
    is_idempotent: bool = False
    """Whether a try whose fate is unknown may be tried again elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A service as it is offered: what `Server` runs."""

    name: str
    version: str
    methods: tuple[Method, ...]
    description: str = ""
    zone: str = ""
    weight: int = 100
    metadata: Mapping[str, str] = field(default_factory=dict)
    takes_plain: bool = False
    """Whether requests without an envelope are taken on the queue group's subject, from stock NATS clients: they are
    neither authenticated nor encrypted end to end, so it is off unless the site says so."""


__all__ = [
    "Admission",
    "Agreement",
    "Attempt",
    "BadAnswer",
    "CallContext",
    "CallFailed",
    "CallRefused",
    "Channel",
    "Handler",
    "Health",
    "Instance",
    "InvalidRequest",
    "Load",
    "Method",
    "NoInstance",
    "NotFoundThere",
    "Offer",
    "Outcome",
    "Overloaded",
    "Picker",
    "Priority",
    "Registry",
    "Request",
    "Response",
    "Seen",
]
