"""Write the message structures from hl7apy's tables (MIT licence), newest version first; with --check, compare.

A structure is a list: a segment is its name, a group a list that starts with the group's name. A name ends with `?`
(none or one), `*` (any number) or `+` (one or more); without a mark it stands once.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FILE = (
    Path(__file__).resolve().parent.parent
    / "adapters"
    / "hl7v2"
    / "maps"
    / "std"
    / "structures.json"
)
VERSIONS = (
    "2_8_2",
    "2_8_1",
    "2_8",
    "2_7",
    "2_6",
    "2_5_1",
    "2_5",
    "2_4",
    "2_3_1",
    "2_3",
    "2_2",
    "2_1",
)
FAMILIES = (
    *(
        "ACK",
        "ADT",
        "BAR",
        "DFT",
        "MDM",
        "ORU",
        "OUL",
        "REF",
        "RRI",
        "PPR",
        "SIU",
        "VXU",
        "VXX",
        "VXR",
    ),
    *(
        "OMB",
        "OMD",
        "OMG",
        "OMI",
        "OML",
        "OMN",
        "OMP",
        "OMS",
        "ORD",
        "ORF",
        "ORG",
        "ORI",
        "ORL",
        "ORM",
    ),
    *("ORN", "ORP", "ORR", "ORS", "RAS", "RRA", "RDE", "RRE", "RDS", "RRD", "RGV", "RRG"),
)
# HL7 tables 0003 and 0354: events that share a structure; every other event has the one of its own name
SHARED = {
    "ADT_A01": "A01 A04 A08 A13",
    "ADT_A05": "A05 A14 A28 A31",
    "ADT_A06": "A06 A07",
    "ADT_A09": "A09 A10 A11",
    "ADT_A21": "A21 A22 A23 A25 A26 A27 A29 A32 A33",
    "ADT_A30": "A30 A34 A35 A36 A46 A47 A48 A49",
    "ADT_A39": "A39 A40 A41 A42",
    "ADT_A43": "A43 A44",
    "ADT_A50": "A50 A51",
    "ADT_A52": "A52 A53",
    "ADT_A54": "A54 A55",
    "ADT_A61": "A61 A62",
    "MDM_T01": "T01 T03 T05 T07 T09 T11",
    "MDM_T02": "T02 T04 T06 T08 T10",
    "ORU_R01": "R01 R40",
    "ORU_R30": "R30 R31 R32",
    "OUL_R22": "R22",
    "PPR_PC1": "PC1 PC2 PC3",
    "RDE_O11": "O11 O25",
    "REF_I12": "I12 I13 I14 I15",
    "RRI_I12": "I12 I13 I14 I15",
    "SIU_S12": "S12 S13 S14 S15 S16 S17 S18 S19 S20 S21 S22 S23 S24 S26",
    "VXU_V04": "V04",
}
# structures that hold a second patient without a group of its own: from the second PID on it is one here
TWO_PATIENTS = ("ADT_A24", "ADT_A37")
MARKS = {(True, False): "", (False, False): "?", (False, True): "*", (True, True): "+"}


def tree(children: Iterable[Any], structure: str) -> list[Any]:
    """The children of a message or group, compactly."""
    found: list[Any] = []
    for name, definition, (least, most), kind in children:
        mark = MARKS[least > 0, most != 1]
        if kind == "SEG":
            found.append(name + mark)
        else:
            short = name.removeprefix(f"{structure}_")
            inner = tree(definition[1], structure)
            if short == "CHOICE":  # one of them stands there
                inner = [one if isinstance(one, list) else one.rstrip("*+") + "?" for one in inner]
            found.append([short + mark, *inner])
    return found


def _second(name: str, found: list[Any]) -> list[Any]:
    """Put what follows the second PID into a group, so that tables can tell two patients apart."""
    if name not in TWO_PATIENTS:
        return found
    at = found.index("PID", found.index("PID") + 1)
    return [*found[:at], ["SECOND?", *found[at:]]]


def _prior(found: list[Any]) -> list[Any]:
    """An earlier result starts with its patient: without, an ORC is the next order, and every second would be lost."""
    return [
        (["PATIENT_PRIOR", *one[1:]] if one[0] == "PATIENT_PRIOR?" else [one[0], *_prior(one[1:])])
        if isinstance(one, list)
        else one
        for one in found
    ]


def structures() -> dict[str, Any]:
    """Every structure of the families, from the newest version that has it."""
    found: dict[str, Any] = {}
    for version in VERSIONS:
        messages = importlib.import_module(f"hl7apy.v{version}").messages.MESSAGES
        for name, definition in messages.items():
            if name.partition("_")[0] in FAMILIES and name not in found:
                found[name] = _prior(_second(name, tree(definition[1], name)))
    return dict(sorted(found.items()))


def page() -> str:
    """The file."""
    events = {
        f"{name.partition('_')[0]}^{event}": name
        for name, events in SHARED.items()
        for event in events.split()
        if event != name.partition("_")[2]
    }
    body = {"source": "hl7apy 1.3.5 (MIT), HL7 v2.1 to v2.8.2", "events": events}
    lines = [f'"{name}": {json.dumps(one)}' for name, one in structures().items()]
    head = json.dumps(body)[:-1]
    return head + ', "structures": {\n' + ",\n".join(lines) + "\n}}\n"


if __name__ == "__main__":
    text = page()
    if "--check" in sys.argv:
        sys.exit(
            0
            if FILE.read_text() == text
            else f"{FILE.name} is stale: run scripts/generate_structures.py"
        )
    FILE.write_text(text)
    print(f"{FILE.name}: {len(text)} bytes")
