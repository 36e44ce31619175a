"""What follows of the segments' names and order alone: which resources a message gives, and what fills them.

Messages of a feed have few orders of segments; each is looked at once.
"""

from __future__ import annotations

from typing import Final

from adapters.hl7v2.mapping.compiler import Program
from adapters.hl7v2.mapping.frames import Env
from adapters.hl7v2.mapping.placing import anchors, related
from adapters.hl7v2.mapping.programs import MessageProgram, ResourceProgram

MAX_LAYOUTS: Final = 512
"""When they are more, all are forgotten."""
MAX_SEGMENTS: Final = 256
"""A message of more is looked at each time."""
Uses = tuple[tuple[Program, int], ...]
"""Documents, and the positions of the segments that they are run on."""
Layout = tuple[tuple[ResourceProgram, int, Uses], ...]
"""Resources, the positions of their anchors, and what fills them."""


class Layouts:
    """Layouts by the names of segments, in their order and groups."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, tuple[str, ...]], Layout] = {}

    def of(self, env: Env, structure: str, program: MessageProgram) -> Layout:
        """The layout of a message that is placed in `env`. Conditions of resources are not asked yet."""
        names = tuple([view.name for view in env.ordered])
        key = program.document.name, structure, names
        found = self._known.get(key)
        if found is None:
            found = _laid_out(env, program)
            if len(self._known) >= MAX_LAYOUTS:
                self._known.clear()
            if len(names) <= MAX_SEGMENTS:
                self._known[key] = found
        return found


def _laid_out(env: Env, program: MessageProgram) -> Layout:
    return tuple(
        (
            resource,
            anchor.position,
            tuple(
                (document, view.position)
                for document, segment, where, outside in resource.uses
                for view in related(env, anchor, segment, where, outside)
            ),
        )
        for resource in program.resources
        for anchor in anchors(env, resource.rule)
    )


__all__ = ["Layout", "Layouts", "Uses"]
