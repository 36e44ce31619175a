"""Charts as points of SVG lines. Pure.

They are drawn on the server: they need no script, follow the colours of the page, and any check of contrast sees them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_STEPS: Final = (1.0, 2.0, 5.0, 10.0)
_ROWS: Final = 12
_GRID: Final = 4


def spark(values: Sequence[float], *, width: int = 100, height: int = 24, points: int = 60) -> str:
    """The `points` of a polyline for the last values; a flat line at the bottom where there is nothing."""
    last = list(values)[-points:] or [0.0]
    if len(last) == 1:
        last = last * 2
    top = max(*last, 1e-9)
    step = width / (points - 1)
    first = width - step * (len(last) - 1)
    return " ".join(
        f"{first + step * at:.1f},{height - 1 - (height - 2) * max(0.0, value) / top:.1f}"
        for at, value in enumerate(last)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A horizontal line of the grid."""

    y: float
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One curve with its scale, and the same numbers for a table."""

    width: int
    height: int
    points: str
    area: str
    first_x: float
    """Where the oldest value stands."""
    lines: tuple[Line, ...]
    rows: tuple[tuple[float, float], ...]
    """(seconds ago, value), newest first."""
    now: float
    least: float
    most: float


def chart(
    values: Sequence[float],
    *,
    seconds_each: float,
    width: int = 1160,
    height: int = 160,
    points: int = 180,
) -> Chart:
    """The chart of values that are `seconds_each` apart, oldest first."""
    last = list(values)[-points:] or [0.0]
    top = _round_up(max(*last, 1.0) if len(last) > 1 else max(last[0], 1.0))
    step = width / (points - 1)
    first = width - step * (len(last) - 1)
    places = [
        (first + step * at, height - height * max(0.0, value) / top)
        for at, value in enumerate(last)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    area = f"{places[0][0]:.1f},{height} {line} {places[-1][0]:.1f},{height}"
    every = max(1, -(-len(last) // _ROWS))
    newest = list(enumerate(reversed(last)))[::every]
    return Chart(
        width=width,
        height=height,
        points=line,
        area=area,
        first_x=places[0][0],
        lines=tuple(
            Line(y=height - height * part / _GRID, words=f"{top * part / _GRID:g}")
            for part in range(_GRID + 1)
        ),
        rows=tuple((at * seconds_each, value) for at, value in newest),
        now=last[-1],
        least=min(last),
        most=max(last),
    )


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50, …: a scale that does not move with every value."""
    power = 1.0
    while value > 10 * power:
        power *= 10
    return next(step * power for step in _STEPS if step * power >= value) if value > 1 else 1.0


__all__ = ["Chart", "Line", "chart", "spark"]
