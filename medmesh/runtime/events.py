"""What a running site reports: names in the past tense or states, fields ready for JSON, never content."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeEvent:
    """One report: `ready`, `stats`, `adapter`, `link`, `draining`, `drained`, `stopped`."""

    name: str
    fields: Mapping[str, object] = field(default_factory=dict)


ReportEvent = Callable[[RuntimeEvent], None]

__all__ = ["ReportEvent", "RuntimeEvent"]
