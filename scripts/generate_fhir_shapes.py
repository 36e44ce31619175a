"""Write the table of FHIR R4 elements that the mapping checks its tables and its output with.

    python scripts/generate_fhir_shapes.py FOLDER_OF_R4_DEFINITIONS [--check]

The folder holds the official R4 `StructureDefinition-*.json`, `ValueSet-*.json`, `CodeSystem-*.json` and
`Bundle-types.json` (http://hl7.org/fhir/R4/downloads.html, CC0). An element becomes one short text:

    TYPE[(target|target)][*][!][~choice][#value set]      * list, ! required, ~ one of a choice, # required binding
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).resolve().parent.parent / "adapters/hl7v2/mapping/shapes.json"
_SYSTEM_TYPE = "http://hl7.org/fhirpath/System."
_LEFT_OUT = frozenset({"ElementDefinition", "Element", "BackboneElement", "xhtml"})


class Definitions:
    """The definitions of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.codes: dict[str, list[str]] = {}

    def structures(self) -> list[dict[str, Any]]:
        """Data types first, then resources by name."""
        types = json.loads((self._folder / "Bundle-types.json").read_text())
        found = [entry["resource"] for entry in types["entry"]]
        paths = sorted(self._folder.glob("StructureDefinition-*.json"))
        return found + [json.loads(path.read_text()) for path in paths]

    def binding(self, element: dict[str, Any]) -> str:
        """The name of the element's required value set, or an empty text."""
        binding = element.get("binding", {})
        if binding.get("strength") != "required" or "valueSet" not in binding:
            return ""
        name = str(binding["valueSet"]).split("|")[0].rsplit("/", 1)[-1]
        if name not in self.codes:
            codes = self._value_set(name) or _codes_of_short(element.get("short", ""))
            if not codes:
                return ""
            self.codes[name] = codes
        return name

    def _value_set(self, name: str) -> list[str]:
        path = self._folder / f"ValueSet-{name}.json"
        if not path.exists():
            return []
        codes: list[str] = []
        for include in json.loads(path.read_text())["compose"]["include"]:
            if "concept" in include:
                codes += [concept["code"] for concept in include["concept"]]
                continue
            system = self._folder / f"CodeSystem-{include['system'].rsplit('/', 1)[-1]}.json"
            if "filter" in include or not system.exists():
                return []
            codes += _concepts(json.loads(system.read_text())["concept"])
        return codes


def _concepts(concepts: list[dict[str, Any]]) -> list[str]:
    found = []
    for concept in concepts:
        found.append(concept["code"])
        found += _concepts(concept.get("concept", []))
    return found


def _codes_of_short(short: str) -> list[str]:
    parts = [part.strip() for part in re.sub(r"\(.*| - .*", "", short).split("|")]
    is_list = len(parts) > 1 and all(re.fullmatch(r"[A-Za-z0-9<>=.-]+", part) for part in parts)
    return parts if is_list else []


def _types(element: dict[str, Any]) -> list[str]:
    if "contentReference" in element:
        return [element["contentReference"].split("#")[-1]]
    names = []
    for kind in element.get("type", []):
        name = kind["code"]
        if name.startswith(_SYSTEM_TYPE):
            name = "string"
        if name in ("BackboneElement", "Element"):
            name = element["path"]
        if name == "Reference":
            targets = sorted(one.rsplit("/", 1)[-1] for one in kind.get("targetProfile", []))
            if targets and targets != ["Resource"]:
                name = f"Reference({'|'.join(targets)})"
        names.append(name)
    return names


def shapes(definitions: Definitions) -> dict[str, dict[str, str]]:
    """By type or by path of a part: by element its short text."""
    found: dict[str, dict[str, str]] = {}
    for structure in definitions.structures():
        if structure["name"] in _LEFT_OUT or structure["kind"] == "primitive-type":
            continue
        if structure.get("derivation") == "constraint":
            continue  # profiles such as SimpleQuantity narrow a type that has a definition of its own
        for element in structure["snapshot"]["element"][1:]:
            owner, _, name = element["path"].rpartition(".")
            mine = found.setdefault(owner, {})
            marks = ("*" if element["max"] != "1" else "") + ("!" if element["min"] else "")
            for kind in _types(element):
                if kind in _LEFT_OUT:
                    continue
                binding = definitions.binding(element)
                suffix = marks + (f"~{name[:-3]}" if name.endswith("[x]") else "")
                text = kind + suffix + (f"#{binding}" if binding else "")
                plain = kind.split("(")[0]
                key = name[:-3] + plain[0].upper() + plain[1:] if name.endswith("[x]") else name
                mine[key] = text
    return found


def main() -> int:
    """Write the table, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true", help="compare with what is checked in")
    asked = parser.parse_args()
    definitions = Definitions(asked.folder)
    elements = shapes(definitions)
    table = {"codes": dict(sorted(definitions.codes.items())), "elements": elements}
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=True) + "\n"
    if asked.check:
        return 0 if OUTPUT.read_text() == text else 1
    OUTPUT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
