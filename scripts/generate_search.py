"""Write schemas/fhir/searching/*.json: each type's search parameters, from the official R4 definitions.

    python scripts/generate_search.py --parameters search-parameters.json \
        --compartment compartmentdefinition-patient.json --profiles profiles-resources.json
    python scripts/generate_search.py --check

The inputs are files of the FHIR R4 specification (hl7.org/fhir/R4/downloads.html). R4B and R5 take every parameter
of R4 whose path exists in them, and what `search_changes.py` says instead. `--check` compiles what is checked in.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any, Final, TypeAlias

from search_changes import CHANGES, COMPARTMENT_CHANGES

from schemas.fhir.elements import Elements, elements_of
from schemas.fhir.generation.model import Model
from schemas.fhir.release import Release
from schemas.fhirpath import FhirPathError, compile_path

FOLDER: Final = Path(__file__).resolve().parent.parent / "schemas" / "fhir" / "searching"
DEFINITIONS: Final = FOLDER.parent / "definitions"
KINDS: Final = frozenset({"token", "string", "date", "reference", "number", "quantity", "uri"})
_RESOLVES: Final = re.compile(r"\.where\(resolve\(\) is (\w+)\)$")
_WHOLE: Final = frozenset({"Resource", "DomainResource"})

Entry: TypeAlias = list[str]
"""Kind, path, and the types that a reference may name, parted by blanks."""
Table: TypeAlias = dict[str, dict[str, Entry]]


def pieces(expression: str) -> list[str]:
    """The operands of the unions outside of parentheses."""
    found, depth, start = [], 0, 0
    for at, letter in enumerate(expression):
        depth += (letter == "(") - (letter == ")")
        if letter == "|" and depth == 0:
            found.append(expression[start:at].strip())
            start = at + 1
    return [*found, expression[start:].strip()]


def bare(piece: str) -> str:
    """Without parentheses around the whole."""
    while piece.startswith("(") and piece.endswith(")") and balanced(piece[1:-1]):
        piece = piece[1:-1].strip()
    return piece


def balanced(text: str) -> bool:
    """Whether each parenthesis is closed behind it."""
    depth = 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            return False
    return depth == 0


def typed(piece: str) -> str:
    """With `ofType`: `as` demands a single item, which the official paths do not mean."""
    return re.sub(r"^(.+) as (\w+)$", r"\1.ofType(\2)", piece).replace(".as(", ".ofType(")


def about(piece: str, name: str) -> bool:
    """Whether an operand is about a type of resource."""
    return re.match(rf"\(*{name}\.", piece) is not None or piece == name


def entry(resource: dict[str, Any], name: str) -> Entry | None:
    """How a definition reads for one type; None where it is not evaluated here."""
    kind = resource["type"]
    if kind == "composite":
        return ["composite", "", ""]
    if kind not in KINDS or "expression" not in resource:
        return None
    own = [bare(piece) for piece in pieces(resource["expression"]) if about(piece, name)]
    if not own:
        return None
    limits = [match[1] for piece in own if (match := _RESOLVES.search(piece))]
    paths = [typed(_RESOLVES.sub("", piece)) for piece in own]
    targets = limits if len(limits) == len(own) else resource.get("target", [])
    joined = paths[0] if len(paths) == 1 else " | ".join(f"({path})" for path in paths)
    return [kind, joined, " ".join(targets) if kind == "reference" else ""]


def compiles(name: str, path: str, release: Release) -> bool:
    """Whether a path names elements that a type of the release has."""
    context = None if name in _WHOLE else name
    try:
        compile_path(path, model=elements_of(release), context=context)
    except FhirPathError:
        return False
    return True


def table_of_r4(bundle: dict[str, Any]) -> Table:
    """Every type's parameters, by its own name and those of what it descends from."""
    table: Table = {}
    for one in bundle["entry"]:
        resource = one["resource"]
        for name in resource["base"]:
            made = entry(resource, name)
            if made is not None:
                table.setdefault(name, {})[resource["code"]] = made
    return table


def table_of(release: Release, r4: Table) -> tuple[Table, list[str]]:
    """What of R4 holds in a release, with its changes; and what does not hold."""
    resources = Model.from_json(
        (DEFINITIONS / f"{release.value.lower()}.json").read_text()
    ).resources
    merged: Table = {name: dict(own) for name, own in r4.items()}
    for name, own in CHANGES.get(release.value, {}).items():
        merged.setdefault(name, {}).update(own)
    table: Table = {}
    lost: list[str] = []
    for name, own in sorted(merged.items()):
        if name not in resources and name not in _WHOLE:
            continue
        for code, made in sorted(own.items()):
            if made[0] != "composite" and not compiles(name, made[1], release):
                lost.append(f"{name}.{code}: {made[1]}")
                continue
            targets = " ".join(t for t in made[2].split() if t in resources or t == "Resource")
            table.setdefault(name, {})[code] = [made[0], made[1], targets]
    return table, lost


def compartment_of(definition: dict[str, Any], table: Table, release: Release) -> dict[str, str]:
    """By type: the parameters that put a resource into a patient's compartment."""
    found = {
        one["code"]: " ".join(one["param"]) for one in definition["resource"] if one.get("param")
    }
    found |= COMPARTMENT_CHANGES.get(release.value, {})
    kept = {
        name: " ".join(code for code in codes.split() if code in table.get(name, {}))
        for name, codes in sorted(found.items())
    }
    return {name: codes for name, codes in kept.items() if codes}


def summaries_of(profiles: dict[str, Any], release: Release) -> dict[str, str]:
    """By type: its elements that are mandatory (`!`) or part of the summary (`*`)."""
    elements = elements_of(release)
    found: dict[str, str] = {}
    for one in profiles["entry"]:
        definition = one["resource"]
        name = definition.get("type", "")
        if definition["resourceType"] != "StructureDefinition" or definition["url"].endswith(
            "Resource"
        ):
            continue
        words = [word for part in definition["snapshot"]["element"] for word in marked(part, name)]
        known = [word for word in words if elements.element(name, stem(word)) is not None]
        if known and definition.get("derivation") == "specialization":
            found[name] = " ".join(dict.fromkeys(expanded(known, name, elements)))
    return found


def marked(part: dict[str, Any], name: str) -> list[str]:
    """`status!*` for an element directly below a type that is mandatory and in the summary."""
    path = part["path"].split(".")
    if len(path) != len(("type", "element")) or path[0] != name:
        return []
    marks = ("!" if part["min"] > 0 else "") + ("*" if part.get("isSummary") else "")
    return [path[1].removesuffix("[x]") + marks] if marks else []


def stem(word: str) -> str:
    """Without its marks."""
    return word.rstrip("!*")


def expanded(words: list[str], name: str, elements: Elements) -> list[str]:
    """Choices by their JSON names."""
    found = []
    for word in words:
        element = stem(word)
        kinds = elements.element(name, element) or ()
        names = (
            [element]
            if len(kinds) <= 1
            else [element + kind[0].upper() + kind[1:] for kind in kinds]
        )
        found += [one + word[len(element) :] for one in names]
    return found


def text_of(table: Table, compartment: dict[str, str], summaries: dict[str, str]) -> str:
    """One parameter a line."""
    types = ",\n".join(
        f"{json.dumps(name)}: {{\n"
        + ",\n".join(f"  {json.dumps(code)}: {json.dumps(made)}" for code, made in own.items())
        + "}"
        for name, own in table.items()
    )
    start = f'{{\n"types": {{\n{types}\n}},\n"patient": {json.dumps(compartment, indent=0)},\n'
    return start + f'"summary": {json.dumps(summaries, indent=0)}\n}}\n'


def write(parameters: Path, compartment: Path, profiles: Path) -> None:
    """Write the tables of every release, and say what of R4 a release lacks."""
    r4 = table_of_r4(json.loads(parameters.read_text()))
    definition = json.loads(compartment.read_text())
    structures = json.loads(profiles.read_text())
    FOLDER.mkdir(exist_ok=True)
    for release in Release:
        table, lost = table_of(release, r4)
        inside = compartment_of(definition, table, release)
        (FOLDER / f"{release.value.lower()}.json").write_text(
            text_of(table, inside, summaries_of(structures, release))
        )
        sys.stderr.write(f"{release.value}: {sum(map(len, table.values()))}, without {len(lost)}\n")
        sys.stderr.writelines(f"  {one}\n" for one in lost)


def check() -> int:
    """How many of the paths that are checked in do not compile."""
    wrong = 0
    for release in Release:
        document = json.loads((FOLDER / f"{release.value.lower()}.json").read_text())
        for name, own in document["types"].items():
            for code, (kind, path, _) in own.items():
                if kind != "composite" and not compiles(name, path, release):
                    sys.stderr.write(f"{release.value} {name}.{code}: {path}\n")
                    wrong += 1
    return wrong


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--parameters", type=Path)
    parser.add_argument("--compartment", type=Path)
    parser.add_argument("--profiles", type=Path)
    given = parser.parse_args()
    if given.check:
        return min(check(), 1)
    if None in (given.parameters, given.compartment, given.profiles):
        parser.error("--parameters, --compartment and --profiles are needed to write the tables")
    write(given.parameters, given.compartment, given.profiles)
    return 0


if __name__ == "__main__":
    sys.exit(main())
