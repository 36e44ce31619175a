"""Message structures as a grammar: what a group holds, in which order, how often (HL7 v2 chapters 3 to 12)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

_REPEATS: Final = "*+"
_OPTIONAL: Final = "?*"
_GENERIC: Final = ""
_OF_A_TYPE: Final = {
    "ADT": "ADT_A01",
    "BAR": "BAR_P01",
    "DFT": "DFT_P03",
    "MDM": "MDM_T02",
    "OMG": "OMG_O19",
    "OMI": "OMI_O23",
    "OML": "OML_O21",
    "ORL": "ORL_O22",
    "ORM": "ORM_O01",
    "ORU": "ORU_R01",
    "OUL": "OUL_R22",
    "PPR": "PPR_PC1",
    "RDE": "RDE_O11",
    "RDS": "RDS_O13",
    "REF": "REF_I12",
    "SIU": "SIU_S12",
    "VXU": "VXU_V04",
}
"""Where the event is unknown: the structure that most of the type's messages have."""


@dataclass(frozen=True, slots=True)
class Node:
    """A group of a structure. Its children are numbered in the order of the standard."""

    name: str
    repeats: bool
    children: tuple[Node | str, ...]
    """Groups, and segments by their names."""
    repeating: tuple[bool, ...]
    """Of each child: whether it may stand more than once."""
    starts: dict[str, tuple[int, ...]]
    """By segment name: children that are that segment, or groups that such a segment opens."""
    holds: dict[str, tuple[int, ...]]
    """By segment name: groups that have it anywhere within."""
    heads: frozenset[str]
    """Segments that open this group: everything up to the first that must be there."""
    needs: str = ""
    """Of a group that may be missing and begins with a segment: the next segment directly in it that must be there."""


class Grammar:
    """All structures, read once; compiled to nodes when they are asked for."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self._events: dict[str, str] = raw["events"]
        self._raw: dict[str, list[Any]] = raw["structures"]
        self._nodes: dict[str, Node] = {}

    @classmethod
    def load(cls) -> Grammar:
        """The grammar that ships with medmesh; the same object each time."""
        return _shipped()

    def choose(self, code: str, event: str, structure: str) -> str:
        """The structure of a message by MSH-9: its event decides, then MSH-9.3, then the type; else empty."""
        named = f"{code}_{event}"
        for one in (self._events.get(f"{code}^{event}"), named, structure, _OF_A_TYPE.get(code)):
            if one and one in self._raw:
                return one
        return _GENERIC

    def node(self, structure: str) -> Node:
        """The root of a structure; of an unknown one a root that holds nothing."""
        node = self._nodes.get(structure)
        if node is None:
            node = _compile("", [], repeats=False) if not structure else self._read(structure)
            self._nodes[structure] = node
        return node

    def _read(self, structure: str) -> Node:
        return _compile(structure, self._raw[structure], repeats=False)


@lru_cache(maxsize=1)
def _shipped() -> Grammar:
    text = files("adapters.hl7v2").joinpath("maps/std/structures.json").read_bytes()
    return Grammar(json.loads(text))


def _needed(raw: list[Any]) -> str:
    """The first segment that must be there."""
    texts = (one for one in raw if isinstance(one, str) and one[-1] not in _OPTIONAL)
    return next(texts, "").rstrip("+")


def _compile(name: str, raw: list[Any], *, repeats: bool, is_optional: bool = False) -> Node:
    children: list[Node | str] = []
    repeating: list[bool] = []
    starts: dict[str, list[int]] = {}
    holds: dict[str, list[int]] = {}
    heads: set[str] = set()
    is_open = True
    for i, one in enumerate(raw):
        text = one[0] if isinstance(one, list) else one
        mark = text[-1] if text[-1] in "?*+" else ""
        repeating.append(bool(mark) and mark in _REPEATS)
        child: Node | str
        if isinstance(one, list):
            child = _compile(
                text.rstrip("?*+"),
                one[1:],
                repeats=repeating[-1],
                is_optional=bool(mark) and mark in _OPTIONAL,
            )
            opening = child.heads
            for inside in (*child.starts, *child.holds):
                holds.setdefault(inside, [])
                if i not in holds[inside]:
                    holds[inside].append(i)
        else:
            segment = text.rstrip("?*+")
            child, opening = segment, frozenset((segment,))
        children.append(child)
        for head in opening:
            starts.setdefault(head, []).append(i)
        if is_open:
            heads |= opening
        is_open = is_open and bool(mark) and mark in _OPTIONAL
    return Node(
        needs=_needed(raw[1:]) if is_optional and raw and isinstance(raw[0], str) else "",
        name=name,
        repeats=repeats,
        children=tuple(children),
        repeating=tuple(repeating),
        starts={key: tuple(value) for key, value in starts.items()},
        holds={key: tuple(value) for key, value in holds.items()},
        heads=frozenset(heads),
    )


__all__ = ["Grammar", "Node"]
