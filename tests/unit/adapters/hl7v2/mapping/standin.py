"""A structure reader for tests: groups by a small table, and messages to map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adapters.hl7v2.codec import Message
from adapters.hl7v2.mapping import Layer, MapContext, Mapped, Mapper, compile_mapper, load_tables
from adapters.hl7v2.mapping.protocol import Issue

TABLES = Path(__file__).parent / "tables"
_OPENS = {
    "ORU_R01": {"PID": ("PATIENT_RESULT", "PATIENT"), "ORC": ("ORDER",), "OBX": ("OBSERVATION",)},
    "ADT_A39": {"PID": ("PATIENT",)},
}


@dataclass
class Group:
    """Segments and groups."""

    name: str
    items: list[object] = field(default_factory=list)


@dataclass
class Reading:
    """What `read` gives."""

    structure: str
    root: Group
    issues: Sequence[Issue] = ()


class StandIn:
    """Puts results into orders, and all else flat."""

    def read(self, message: Message) -> Reading:
        """Flat, but for orders and observations of results."""
        kind, event, structure = (message.get(f"MSH-9.{n}") for n in (1, 2, 3))
        name = structure or {"A40": "ADT_A39"}.get(event, f"{kind}_{event}")
        root = Group(name)
        order: Group | None = None
        into = root
        for segment in message.segments():
            if name == "ORU_R01":
                has_order = order is not None and all(
                    getattr(one, "name", "") == "ORC" for one in order.items
                )
                if segment.name == "ORC" or (segment.name == "OBR" and not has_order):
                    order = Group("ORDER_OBSERVATION")
                    root.items.append(order)
                    into = order
                elif segment.name == "OBX" and order is not None:
                    into = Group("OBSERVATION")
                    order.items.append(into)
            elif name == "ADT_A39" and segment.name == "PID":
                into = Group("PATIENT")
                root.items.append(into)
            into.items.append(segment)
        return Reading(name, root)


def mapper(*layers: Layer) -> Mapper:
    """A mapper of the test tables, and of layers over them."""
    return compile_mapper(load_tables([Layer.directory(TABLES, "std"), *layers]), StandIn())


def layer(**files: str) -> Layer:
    """A layer of YAML texts by `folder__file`."""
    return Layer(
        name="site",
        files={
            f"{name.replace('__', '/')}{'.csv' if name.startswith('codes') else '.yaml'}": text.encode()
            for name, text in files.items()
        },
    )


def mapped(
    *segments: str, using: Mapper | None = None, context: MapContext | None = None
) -> Mapped:
    """Map a message of the given segments."""
    message = Message.parse("\r".join(segments).encode())
    return (using or mapper()).map(message, context or MapContext(tenant="north"))


def only(result: Mapped, kind: str) -> dict:  # type: ignore[type-arg]  # JSON that tests look into
    """The one resource of a type."""
    found = [one for one in result.resources if one["resourceType"] == kind]
    assert len(found) == 1, f"{len(found)} {kind}"
    return found[0]


MSH = "MSH|^~\\&|HIS|NORTH|MESH|X|20260102030405+0100||ADT^A01^ADT_A01|7|P|2.5.1"
ORU = "MSH|^~\\&|LAB|NORTH|MESH|X|20260102030405+0100||ORU^R01^ORU_R01|8|P|2.5.1"
PID = (
    "PID|1||123^^^HOSP&1.2.3&ISO^MR~99^^^CITY^SS||Doe&van^Jane^Q^^Dr^^L~Roe^^^^^^M||19700102|F|||"
    "1 Main^^X||555-1~^WPN^^a@b.example|||M|||111-22-3333"
)
