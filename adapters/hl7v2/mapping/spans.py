"""Lengths of time of HL7 v2's schedules: a number whose unit stands in the next field, and what is computed of them.

In AIS, AIG, AIL and AIP (v2.8.2 section 10.6) the start, its offset, the offset's unit, the duration and its unit
follow each other; in SCH (10.6.1) the duration and its unit do.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

from adapters.hl7v2.mapping import times
from adapters.hl7v2.mapping.frames import Frame, View, leaf
from adapters.hl7v2.mapping.protocol import Json

_SECONDS: Final = {
    unit: seconds
    for units, seconds in (
        ("s sec secs second seconds", 1),
        ("m min mins minute minutes minuto minuten", 60),
        ("h hr hrs hour hours std stunde stunden", 3_600),
        ("d day days tag tage", 86_400),
        ("w wk wks week weeks woche wochen", 604_800),
    )
    for unit in units.split()
}
"""By a unit as senders write it (ISO+, UCUM, table 0255 or a word), in small letters."""
_LONGEST: Final = 366 * 86_400
_START: Final = 3
"""How many fields before its duration the start of a service or resource stands."""
_OFFSET: Final = 2
_AIS_DURATION: Final = 7


def minutes(frame: Frame) -> Json:
    """A duration in minutes, its unit being that of the next field; None without a known unit.

    Of a service (AIS) only where it is the message's only one: the duration of one of several is not the appointment's.
    """
    if len(frame.env.views[frame.view.name]) > 1:
        return None
    span = _span(frame)
    if span is None:
        return None
    whole, rest = divmod(span, timedelta(minutes=1))
    if rest or whole <= 0:
        raise ValueError("no whole number of minutes")
    return whole


def start_offset(frame: Frame) -> Json:
    """The appointment's start and an offset, whose unit is that of the next field."""
    begun = _appointment_start(frame)
    span = _span(frame) if begun else None
    return None if span is None else _later(begun, span)


def end_of_service(frame: Frame) -> Json:
    """When a service or resource of a schedule is free again: its start, or the offset of it, and this duration."""
    span = _span(frame)
    if span is None:
        return None
    started = _leaf(frame, frame.field - _START)
    if started:
        begun: Json = times.date_time(started, frame) if times.has_moment(started, frame) else None
    else:
        offset = _length(_leaf(frame, frame.field - _OFFSET), _leaf(frame, frame.field - 1))
        begun = None if offset is None else _later(_appointment_start(frame), offset)
    return _later(begun, span)


def end_of_appointment(frame: Frame) -> Json:
    """`end` of an appointment without one: its `start` and `minutesDuration`, else the end of its last service."""
    body = frame.entry.body
    if "end" in body:
        return None
    length = body.get("minutesDuration")
    if isinstance(length, int):
        return _later(body.get("start"), timedelta(minutes=length))
    ends = [one for view in frame.env.views.get("AIS", ()) if (one := _end_of(frame, view))]
    return max(ends, key=datetime.fromisoformat, default=None)


def _appointment_start(frame: Frame) -> Json:
    """Of the appointment being made, else of TQ1-7 or SCH-11.4."""
    if "start" in frame.entry.body:
        return frame.entry.body["start"]
    for name, field, component in (("TQ1", 7, 1), ("SCH", 11, 4)):
        view = frame.env.nearest(frame.view, name)
        found = view.repetitions(field) if view else []
        text = leaf(found[0], component, 1) if found else ""
        if text and times.has_moment(text, frame):
            return times.date_time(text, frame)
    return None


def _end_of(frame: Frame, service: View) -> str | None:
    found = service.repetitions(_AIS_DURATION)
    inner = Frame(frame.env, frame.entry, service, {}, found[0] if found else [], _AIS_DURATION, 1)
    try:
        made = end_of_service(inner)
    except ValueError:
        return None
    return made if isinstance(made, str) else None


def unknown_end(frame: Frame) -> Json:
    """`unknown` for an appointment with a start and no end: R4 wants both or neither (app-2)."""
    body = frame.entry.body
    return "unknown" if "start" in body and "end" not in body else None


def _span(frame: Frame) -> timedelta | None:
    """The length of time that the value and the unit in the next field say; None without a known unit."""
    span = _length(leaf(frame.parts or [], 1, 1), _leaf(frame, frame.field + 1))
    if span is not None:
        frame.took()
    return span


def _length(text: str, unit: str) -> timedelta | None:
    seconds = _SECONDS.get(unit.lower())
    if seconds is None or not text:
        return None
    try:
        length = Decimal(text) * seconds
    except InvalidOperation:
        raise ValueError("no number") from None
    if not length.is_finite() or abs(length) > _LONGEST:
        raise ValueError("no length of time up to a year")
    return timedelta(seconds=float(length))


def _leaf(frame: Frame, field: int) -> str:
    found = frame.view.repetitions(field)
    return leaf(found[0], 1, 1) if found else ""


def _later(start: object, span: timedelta) -> str | None:
    if not isinstance(start, str) or "T" not in start:
        return None
    try:
        moved = datetime.fromisoformat(start) + span
    except (ValueError, OverflowError):
        return None
    made = moved.isoformat()
    return made[:-6] + "Z" if start.endswith("Z") else made


__all__ = ["end_of_appointment", "end_of_service", "minutes", "start_offset", "unknown_end"]
