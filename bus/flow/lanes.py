"""Lanes: messages of one partition stay in order while other partitions go on.

Each lane is first in, first out, and only its head moves: queued -> in hand -> done, or -> waiting -> in hand again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")


class Step(Enum):
    """Where the head of a lane stands."""

    EMPTY = "empty"
    QUEUED = "queued"
    IN_HAND = "in_hand"
    WAITING = "waiting"


@dataclass(slots=True)
class _Lane(Generic[T]):
    items: deque[T]
    step: Step = Step.EMPTY
    due_s: float = 0.0


def lane_of(partition: int, lanes: int) -> int:
    """The lane of a partition; everything is in lane 0 when there is one."""
    return partition % lanes


class Lanes(Generic[T]):
    """The state of all lanes. Times are the caller's monotonic seconds."""

    def __init__(self, lanes: int) -> None:
        if lanes < 1:
            raise ValueError(f"lanes is {lanes}; at least 1 is needed")
        self._lanes: list[_Lane[T]] = [_Lane(deque()) for _ in range(lanes)]

    def __len__(self) -> int:
        """Messages in all lanes, whatever their step."""
        return sum(len(lane.items) for lane in self._lanes)

    def step(self, lane: int) -> Step:
        """Where the head of a lane stands."""
        return self._lanes[lane].step

    def due_s(self, lane: int) -> float:
        """When the waiting head of a lane may be taken again."""
        return self._lanes[lane].due_s

    def put(self, lane: int, item: T) -> None:
        """Append to a lane."""
        into = self._lanes[lane]
        into.items.append(item)
        if into.step is Step.EMPTY:
            into.step = Step.QUEUED

    def take(self, lane: int, now_s: float) -> T | None:
        """Take the head in hand; None when the lane is empty, its head is in hand, or its wait is not over."""
        found = self._lanes[lane]
        ready = found.step is Step.QUEUED or (found.step is Step.WAITING and now_s >= found.due_s)
        if not ready:
            return None
        found.step = Step.IN_HAND
        return found.items[0]

    def wait(self, lane: int, until_s: float) -> None:
        """Put the head aside, still first of its lane, until `until_s`."""
        self._in_hand(lane).step = Step.WAITING
        self._lanes[lane].due_s = until_s

    def hasten(self, lane: int, now_s: float) -> bool:
        """End the wait of a lane's head; whether it was waiting."""
        found = self._lanes[lane]
        if found.step is not Step.WAITING:
            return False
        found.due_s = min(found.due_s, now_s)
        return True

    def done(self, lane: int) -> T:
        """Remove the head that is in hand."""
        found = self._in_hand(lane)
        item = found.items.popleft()
        found.step = Step.QUEUED if found.items else Step.EMPTY
        return item

    def move(self, lane: int, to: int) -> None:
        """Give the head that is in hand to the end of another lane, where it is queued."""
        self.put(to, self.done(lane))

    def _in_hand(self, lane: int) -> _Lane[T]:
        found = self._lanes[lane]
        if found.step is not Step.IN_HAND:
            raise ValueError(f"the head of lane {lane} is {found.step.value}, not in hand")
        return found


__all__ = ["Lanes", "Step", "lane_of"]
