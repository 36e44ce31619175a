"""Pages from templates: everything escaped, every name known, one place that knows the look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from gateway.console import words
from gateway.console.views import BAD, FAIR, GOOD, IDLE

PAGES: Final = (
    ("/console", "Now", "view"),
    ("/console/subjects", "Subjects", "view"),
    ("/console/services", "Services", "view"),
    ("/console/find", "Find a message", "find"),
    ("/console/dead-letters", "Dead letters", "view"),
    ("/console/consumers", "Consumers", "view"),
)
"""Address, name, and the right that shows it."""
_STATES: Final = {"delivered": GOOD, "dead": BAD, "refused": BAD, "waiting": IDLE, "retrying": FAIR}


class Renderer:
    """Makes pages and regions of one site."""

    def __init__(self, *, site: str, version: str) -> None:
        environment = Environment(
            loader=PackageLoader("gateway.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        environment.filters |= {
            "breakable": _breakable,
            "clock": words.clock,
            "clock_ms": words.clock_ms,
            "iso": words.iso,
            "moment": words.moment,
            "number": words.number,
            "rate": words.rate,
            "reason": words.reason,
            "size": words.size,
            "state_mark": lambda state: _STATES.get(state, IDLE),
        }
        environment.globals |= {"site": site, "version": version, "pages": PAGES}
        self._environment = environment

    def page(self, name: str, context: Mapping[str, Any]) -> bytes:
        """A whole page."""
        return self._environment.get_template(f"{name}.html").render(context).encode()

    def region(self, name: str, context: Mapping[str, Any]) -> str:
        """A part of a page that changes by itself."""
        return self._environment.get_template(f"regions/{name}.html").render(context)


def _breakable(subject: str) -> Markup:
    """A subject that may be broken behind its dots."""
    return Markup(".<wbr>").join(escape(part) for part in subject.split("."))


__all__ = ["PAGES", "Renderer"]
