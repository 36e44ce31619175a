"""Counters and gauges as Prometheus text (exposition format 0.0.4). Pure.

Labels are names and codes of our own. Their number is bounded all the same: what exceeds it is summed up under `other`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
MAX_SERIES: Final = 4000
_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")
_MAX_LABEL_CHARS: Final = 128
_OTHER: Final = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """One value now."""

    name: str
    help: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


def render(counts: Mapping[tuple[str, str, str], int], gauges: Iterable[Gauge]) -> bytes:
    """The text. Counters become `medmesh_<event>_total`, labelled with who and reason."""
    lines: list[str] = []
    name = ""
    for event, who, reason, count in _bounded(counts):
        if event != name:
            name = event
            lines.append(f"# TYPE medmesh_{event}_total counter")
        lines.append(
            f'medmesh_{event}_total{{who="{_label(who)}",reason="{_label(reason)}"}} {count}'
        )
    name = ""
    for gauge in sorted(gauges, key=lambda one: one.name):
        if gauge.name != name:
            name = gauge.name
            lines.append(f"# HELP medmesh_{name} {gauge.help}")
            lines.append(f"# TYPE medmesh_{name} gauge")
        labels = ",".join(f'{key}="{_label(text)}"' for key, text in gauge.labels.items())
        lines.append(
            f"medmesh_{name}{{{labels}}} {gauge.value:g}"
            if labels
            else f"medmesh_{name} {gauge.value:g}"
        )
    return ("\n".join(lines) + "\n").encode()


def _bounded(counts: Mapping[tuple[str, str, str], int]) -> list[tuple[str, str, str, int]]:
    """Sorted, at most `MAX_SERIES` and one for each event that has more."""
    found: list[tuple[str, str, str, int]] = []
    rest: dict[str, int] = {}
    for (event, who, reason), count in sorted(counts.items()):
        if not _NAME.match(event):
            continue
        if len(found) < MAX_SERIES:
            found.append((event, who, reason, count))
        else:
            rest[event] = rest.get(event, 0) + count
    return sorted([*found, *((event, _OTHER, _OTHER, count) for event, count in rest.items())])


def _label(text: str) -> str:
    cut = text[:_MAX_LABEL_CHARS]
    return cut.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


__all__ = ["CONTENT_TYPE", "MAX_SERIES", "Gauge", "render"]
