"""A member's own lease: joined, renewed, believed only for so long, given up. Pure.

Each write is a compare-and-set on the one before, so whoever buries a member makes its next renewal fail; and a member
believes itself for less time than others wait before they bury it. A member that was not buried may renew late: nobody
took anything from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from bus.events.partitions.actions import Action, LeaseTimes, LookAtMember, WriteMember
from bus.events.partitions.records import MemberRecord, Presence


class Session:
    """The lease of one member under a name that is used once."""

    def __init__(self, times: LeaseTimes, fresh_id: Callable[[], str]) -> None:
        self._times = times
        self._fresh_id = fresh_id
        self._revision = 0
        self._beat = 0
        self._is_in = False
        self._is_busy = False
        self._is_in_doubt = False
        self._wanted = Presence.IN
        self._sent = MemberRecord()
        self._sent_s = 0.0
        self._due_s = -math.inf
        self._confirmed_s = -math.inf
        self.member = ""
        """The present name; empty before the first and after each loss."""
        self.until_s = -math.inf
        """Until when this member believes itself."""

    def is_valid(self, now_s: float) -> bool:
        """Whether nobody can have taken anything from this member."""
        return self._is_in and now_s < self.until_s

    @property
    def is_gone(self) -> bool:
        """Whether it left for good."""
        return self._wanted is Presence.GONE and not self.member

    @property
    def has_announced(self) -> bool:
        """Whether the others know that it is leaving."""
        return self._is_in and self._sent.presence is not Presence.IN and not self._is_busy

    def want(self, presence: Presence) -> None:
        """Announce to leave, or leave; told at once."""
        if presence is not self._wanted:
            self._wanted = presence
            self._due_s = -math.inf

    def react(self, now_s: float) -> list[Action]:
        """What must be written or read now."""
        if self._is_busy or now_s < self._due_s:
            return []
        if not self.member:
            return self._join(now_s)
        self._is_busy = True
        if self._is_in_doubt:
            return [LookAtMember(self.member)]
        self._beat += 1
        return [self._write(now_s)]

    def _join(self, now_s: float) -> list[Action]:
        if self._wanted is not Presence.IN:
            return []
        self.member, self._revision, self._beat, self._is_busy = self._fresh_id(), 0, 0, True
        return [self._write(now_s)]

    def _write(self, now_s: float) -> WriteMember:
        self._sent, self._sent_s = MemberRecord(presence=self._wanted, beat=self._beat), now_s
        return WriteMember(self.member, self._revision, self._sent)

    def written(self, revision: int, now_s: float) -> bool:
        """The last write stands. Returns whether it ended a silence: what was seen of others meanwhile says little."""
        silent_s = now_s - self._confirmed_s
        self._is_busy, self._revision, self._confirmed_s = False, revision, now_s
        if self._sent.presence is Presence.GONE:
            self._forget()
            return False
        self._is_in = True
        self.until_s = self._sent_s + self._times.believed_s
        if self._sent.presence is self._wanted:
            self._due_s = self._sent_s + self._times.heartbeat_s
        return silent_s > 2 * self._times.heartbeat_s

    def failed(self, now_s: float) -> None:
        """The last write or look failed or its fate is unknown: look before anything else."""
        was_in_doubt, self._is_busy, self._is_in_doubt = self._is_in_doubt, False, True
        self._due_s = now_s + (self._times.retry_s if was_in_doubt else 0.0)

    def looked(self, record: MemberRecord | None, revision: int, now_s: float) -> None:
        """Take up what the bucket has under this member's name."""
        self._is_busy = False
        if record is None or record.presence is Presence.GONE:
            self.lost(now_s)
            return
        # written by ourselves, but who knows when: it proves that nobody buried us, and extends nothing
        self._revision, self._is_in, self._is_in_doubt = revision, True, False
        self._due_s = now_s

    def lost(self, now_s: float) -> None:
        """Others buried this member: it never comes back under its name."""
        self._forget()
        self._due_s = now_s + self._times.retry_s

    def _forget(self) -> None:
        self.member, self._is_in, self._is_busy, self._is_in_doubt = "", False, False, False
        self.until_s = -math.inf

    def due_s(self) -> float:
        """When `react` has something to say, unless an answer comes first."""
        if self._is_busy or (not self.member and self._wanted is not Presence.IN):
            return math.inf
        return self._due_s


__all__ = ["Session"]
