"""What one sender's messages of one type have in common, learnt once: their kind, and how each is accepted.

It is a function of MSH-1 to MSH-6, MSH-9, MSH-11, MSH-12, MSH-15, MSH-16 and MSH-18 alone. These name systems, types
and versions, never a patient, and from one sender they repeat from message to message.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Final

from adapters.hl7v2.codec.ack_codes import AckCode, Condition
from adapters.hl7v2.codec.acknowledgement import AckTemplate
from adapters.hl7v2.codec.delimiters import delimiters_of
from adapters.hl7v2.codec.header import Header
from adapters.hl7v2.config import MllpServerConfig
from adapters.hl7v2.convert import Kind, kind_of
from adapters.hl7v2.verdict import (
    ACCEPTED,
    Verdict,
    VerdictKind,
    accept_code,
    application_code,
)

_FIELDS: Final = (1, 2, 3, 4, 5, 6, 9, 11, 12, 15, 16, 18)
_FIELD_COUNT: Final = _FIELDS[-1] + 1
_PICK: Final = itemgetter(*_FIELDS)
_MAX_REMEMBERED: Final = 512
_MAX_HEADER_BYTES: Final = 1024
"""What a longer MSH has in common with others is worked out each time: memory stays small."""

Fields = tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """What such messages have in common."""

    kind: Kind
    refusal: Verdict | None
    """Why none of them is taken."""
    code: AckCode | None
    """The one answer to a message that is accepted; None when its sender wants none."""
    answer: AckTemplate | None
    """That answer."""


def single_code(header: Header, verdict: Verdict, config: MllpServerConfig) -> AckCode | None:
    """The code of the one answer: what the sender asked for, first the accept answer, else the application's."""
    original = not header.raw(15) and not header.raw(16)
    code = accept_code(header.accept_acknowledgement, verdict) or application_code(
        header.application_acknowledgement, verdict
    )
    if code is None and (original or config.always_answer):
        code = application_code("AL", verdict)
    return code


def habit_of(header: Header, config: MllpServerConfig) -> Habit:
    """Work out the habit of a message."""
    code = single_code(header, ACCEPTED, config)
    return Habit(
        kind=kind_of(header, config.charset),
        refusal=_refusal(header, config),
        code=code,
        answer=AckTemplate.of(header, code) if code else None,
    )


def _refusal(header: Header, config: MllpServerConfig) -> Verdict | None:
    processing_id = header.processing_id
    if processing_id and processing_id not in config.processing_ids:
        return Verdict(
            kind=VerdictKind.REJECT,
            text="processing id is not accepted here (processing_ids)",
            condition=Condition.UNSUPPORTED_PROCESSING_ID,
            location="MSH-11",
            reason="processing_id",
        )
    return None


class Habits:
    """Remembers the habits that were seen last, at most 512."""

    def __init__(self, config: MllpServerConfig) -> None:
        self._config = config
        self._learnt = lru_cache(maxsize=_MAX_REMEMBERED)(self._learn)

    def of(self, header: Header) -> Habit:
        """The same as `habit_of`."""
        if header.wide or header.transcoded or header.end - header.start > _MAX_HEADER_BYTES:
            return habit_of(header, self._config)
        fields = header.fields
        if len(fields) < _FIELD_COUNT:
            fields += (b"",) * (_FIELD_COUNT - len(fields))
        return self._learnt(_PICK(fields))

    def __len__(self) -> int:
        """How many are remembered."""
        return self._learnt.cache_info().currsize

    def _learn(self, picked: Fields) -> Habit:
        # from what is remembered by alone: nothing else of this one message can slip in
        fields = [b""] * _FIELD_COUNT
        fields[0] = b"MSH"
        for number, value in zip(_FIELDS, picked, strict=True):
            fields[number] = value
        delimiters = delimiters_of(fields[1], fields[2])
        return habit_of(Header(delimiters, tuple(fields), 0, 0), self._config)


__all__ = ["Habit", "Habits", "habit_of", "single_code"]
