"""Whether an opened request may be worked, and until when. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar, Final, NamedTuple

from bus.envelope.types import Envelope
from bus.events.content import service_name
from bus.services.wire import Asked
from schemas import subjects
from schemas.errors import MeshError, SubjectError
from schemas.subjects import SiteId

_SPIFFE_PARTS: Final = 5


class NotForUs(MeshError):
    """A request that is authentic, but must not be worked. `reason` is a stable code for operators."""

    code: ClassVar[str] = "request_refused"

    def __init__(self, reason: str) -> None:
        super().__init__(f"request refused ({reason})")
        self.reason = reason


class Timing(NamedTuple):
    """When a request came, and until when it is worth working. Seconds, on the event loop's scale."""

    arrived_s: float
    deadline_s: float
    waited_s: float
    """Since it was sealed, as far as the clocks agree."""

    @property
    def is_late(self) -> bool:
        """Whether its caller has stopped waiting."""
        return self.deadline_s <= self.arrived_s


def check_reply(envelope: Envelope) -> None:
    """An answer is sealed for the caller's own answer subject, whatever the request asks for. Raises `NotForUs`."""
    own = _answers_of(envelope.sender.service)
    if not own or envelope.reply_to != own:
        raise NotForUs("answers_elsewhere")


@lru_cache(maxsize=1024)
def _answers_of(service: str) -> str:
    """Where a service (SPIFFE id) has its answers sent; empty when it has no such place."""
    parts = service.split("/")
    try:
        return subjects.answers(SiteId(parts[-2]), parts[-1]) if len(parts) >= _SPIFFE_PARTS else ""
    except SubjectError:
        return ""


def check_age(envelope: Envelope, *, started_ms: int, max_skew_s: float) -> None:
    """The replay window begins with the run: what was made before it may have been worked before. Raises `NotForUs`."""
    if envelope.created_ms + max_skew_s * 1000 < started_ms:
        raise NotForUs("made_before_start")


def timing(
    envelope: Envelope, asked: Asked, *, arrived_s: float, now_ms: int, max_skew_s: float
) -> Timing:
    """How long it may be worked: until its caller stops waiting or it expires, whichever comes first.

    The caller's wait is counted from the arrival, since clocks differ; one that ended before the arrival even if they
    differ by `max_skew_s` is over.
    """
    waited_s = max(0.0, (now_ms - envelope.created_ms) / 1000)
    left_s = min(asked.timeout_s, (envelope.expires_ms - now_ms) / 1000)
    if waited_s > asked.timeout_s + max_skew_s:
        left_s = 0.0
    return Timing(arrived_s=arrived_s, deadline_s=arrived_s + left_s, waited_s=waited_s)


def caller_of(envelope: Envelope) -> str:
    """The calling service, from its certificate."""
    return service_name(envelope.sender.service)


__all__ = ["NotForUs", "Timing", "caller_of", "check_age", "check_reply", "timing"]
