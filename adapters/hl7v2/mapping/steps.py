"""A compiled document: of its rules those that can do something with a segment or value, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from adapters.hl7v2.mapping.frames import Frame, Step
from adapters.hl7v2.mapping.memory import Memory
from adapters.hl7v2.mapping.model import Document

_REMEMBERED: Final = frozenset(
    (
        "CE",
        "CF",
        "CNE",
        "CNN",
        "CWE",
        "DLD",
        "HD",
        "ID",
        "IS",
        "MSG",
        "NDL",
        "PL",
        "PT",
        "XCN",
        "XON",
    )
)
"""Data types of codes, staff, places and organizations: their values repeat from message to message."""
_OF_PATIENTS: Final = frozenset({"Patient", "Person", "RelatedPerson"})
MAX_SHAPES: Final = 1_024
_SHORT: Final = 8


Wants = tuple[frozenset[int], ...]
"""Fields of a segment, or components of a value: a rule does nothing unless of each set one is valued."""


class Program:
    """A compiled document."""

    __slots__ = (
        "_field",
        "_is_open",
        "_is_segment",
        "_known",
        "_made",
        "_makers",
        "_needs",
        "_wants",
        "created",
        "document",
        "made",
    )

    def __init__(
        self,
        document: Document,
        makers: Sequence[Callable[[], Step]],
        needs: Sequence[frozenset[str] | None],
        wants: Sequence[Wants],
        field: int,
        is_open: Sequence[bool],
    ) -> None:
        self.document = document
        is_remembered = (
            not document.is_segment
            and document.source in _REMEMBERED
            and document.target not in _OF_PATIENTS
        )
        self.made: Memory | None = {} if is_remembered else None
        """What it made of values before."""
        self.created: Memory | None = {} if is_remembered else None
        """The resources that were created with it."""
        self._is_open = tuple(is_open)
        """Of each rule whether it depends on more than the value: other segments, settings, zones, resources."""
        self._is_segment = document.is_segment
        self._makers = tuple(makers)
        self._made: list[Step | None] = [None] * len(self._makers)
        """The rules' steps, each made when it is first needed."""
        self._needs = tuple(needs)
        """For each step the values of the field of which one must be there; None when it does not matter."""
        self._wants = tuple(wants)
        self._field = field
        self._known: dict[tuple[bytes, str | None], tuple[Step, ...]] = {}
        """Steps that can do something, by what is valued and the value of the field; nothing of a message else."""

    def run(self, frame: Frame) -> None:
        """Run all rules in order on a segment's or a value's frame."""
        value = None
        if self._is_segment:
            view = frame.view
            shape = view.shape
            if self._field:
                found = view.repetitions(self._field)
                if not found:
                    value = ""
                elif len(found) == 1 and isinstance(found[0][0], str):
                    value = found[0][0]
        else:
            shape = bytes(map(bool, frame.parts or ()))
        for step in self._known.get((shape, value)) or self._chosen(shape, value):
            step(frame)

    def _chosen(self, shape: bytes, value: str | None) -> tuple[Step, ...]:
        start = 0 if self._is_segment else 1
        valued = {i for i, is_valued in enumerate(shape, start) if is_valued}
        rules = zip(self._needs, self._wants, strict=True)
        chosen = [
            i
            for i, (need, wants) in enumerate(rules)
            if (need is None or value is None or value in need)
            and all(not valued.isdisjoint(one) for one in wants)
        ]
        found = tuple(self._step(i) for i in chosen)
        if not self._is_segment and any(self._is_open[i] for i in chosen):
            found = (_taint, *found)
        if len(self._known) >= MAX_SHAPES:
            self._known.clear()
        if value is None or len(value) <= _SHORT:
            self._known[shape, value] = found
        return found

    def _step(self, number: int) -> Step:
        step = self._made[number]
        if step is None:
            step = self._made[number] = self._makers[number]()
        return step


def _taint(frame: Frame) -> None:
    """Say that what is made depends on more than the value."""
    frame.env.is_tainted = True


__all__ = ["Program", "Wants"]
