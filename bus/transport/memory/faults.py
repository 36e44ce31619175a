"""Faults that a test orders from the in-memory broker. Each is off until it is asked for."""

from __future__ import annotations

from schemas.errors import MeshError


class Faults:
    """What goes wrong next. Counts run down as the faults happen."""

    def __init__(self) -> None:
        self._refusals: list[MeshError] = []
        self._refuse_all: MeshError | None = None
        self._lost_answers = 0
        self._lost_acknowledgements = 0

    def refuse_stores(self, error: MeshError, *, count: int | None = None) -> None:
        """Refuse the next `count` stored messages with `error`; without a count, all until `heal`."""
        if count is None:
            self._refuse_all = error
        else:
            self._refusals.extend([error] * count)

    def lose_store_answers(self, count: int) -> None:
        """Store the next `count` messages but lose the answer: their callers get `DeadlineExceeded`."""
        self._lost_answers += count

    def drop_acknowledgements(self, count: int) -> None:
        """Lose the next `count` acknowledgements of consumers: those messages are delivered again."""
        self._lost_acknowledgements += count

    def heal(self) -> None:
        """Take back every order."""
        self._refusals.clear()
        self._refuse_all = None
        self._lost_answers = 0
        self._lost_acknowledgements = 0

    def refusal(self) -> MeshError | None:
        """The error for the message that is being stored now, if one was ordered."""
        return self._refusals.pop(0) if self._refusals else self._refuse_all

    def answer_is_lost(self) -> bool:
        """Whether the answer for the message stored just now is lost."""
        lost = self._lost_answers > 0
        self._lost_answers -= lost
        return lost

    def acknowledgement_is_lost(self) -> bool:
        """Whether the acknowledgement sent just now is lost."""
        lost = self._lost_acknowledgements > 0
        self._lost_acknowledgements -= lost
        return lost


__all__ = ["Faults"]
