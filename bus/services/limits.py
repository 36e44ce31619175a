"""What a server bounds, and the numbers at which it does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """Bounds of one instance. `Admission` decides below them what is worked."""

    max_in_hand: int = 4096
    """Requests at a time, those that wait for a key or whose answer is on its way included. More are shed unopened."""
    max_in_hand_bytes: int = 64 << 20
    """64 MiB: the same for their sizes."""
    lookup_s: float = 2.0
    """How long a request waits for the key or certificate that opens it."""
    max_clock_skew_s: float = 5.0
    """How far a caller's clock may be behind ours: a request that is older than its caller's wait and this is late.
    For as long after its start an instance takes requests that an earlier run may have worked."""
    plain_timeout_s: float = 30.0
    """How long a request without an envelope is worked: it does not say how long its caller waits."""
    retry_after_s: float = 0.1
    """The pause that a caller is told whose request was shed unopened."""
    keep_answers_s: float = 120.0
    """How long answers of methods that are not idempotent are kept for second tries."""
    max_kept_answers: int = 4096
    """About 600 bytes each, and their bodies."""
    max_kept_bytes: int = 8 << 20
    """8 MiB of bodies; of an older call only that it was answered is known."""


__all__ = ["ServerLimits"]
