"""Draft mapping tables from the official v2-to-FHIR sheets, and compare the tables that ship with them.

    python scripts/generate_maps.py OFFICIAL OUT            drafts of all sheets into the folder OUT
    python scripts/generate_maps.py OFFICIAL --coverage     rewrite maps/std/coverage.csv from the tables that ship
    python scripts/generate_maps.py OFFICIAL --diff         official rows that are new or changed since then

The drafts are a beginning: what ships is curated by hand, and is never overwritten from here.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections import defaultdict
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from maps_coverage import compare, coverage_page  # noqa: E402
from maps_drafts import Draft, Drafter, Left, RuleText  # noqa: E402
from maps_official import code_tables, rows  # noqa: E402

from adapters.hl7v2.mapping.compiler import Compiler  # noqa: E402
from adapters.hl7v2.mapping.errors import TablesError  # noqa: E402
from adapters.hl7v2.mapping.layers import Layer  # noqa: E402
from adapters.hl7v2.mapping.loading import load_tables  # noqa: E402
from adapters.hl7v2.mapping.shapes import load_shapes  # noqa: E402

STD = ROOT / "adapters" / "hl7v2" / "maps" / "std"
_PLAIN = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.$")


def draft_codes(folder: Path) -> dict[str, bytes]:
    """Every concept map as a code table; a code without a target keeps the sender's, or gives nothing in a `code`."""
    found: dict[str, bytes] = {}
    for name, sheet in code_tables(folder):
        lines = _code_lines(sheet)
        if lines:
            out = io.StringIO()
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(["source", "system", "code", "display", "status"])
            writer.writerows(lines)
            found[f"codes/{_table_name(name)}.csv"] = out.getvalue().encode()
    return found


def _code_lines(sheet: list[tuple[str, str, str, str, str]]) -> list[list[str]]:
    lines: dict[str, list[str]] = {}
    for code, _, system, target, display in sheet:
        if code in lines:
            continue
        if target:
            lines[code] = [code, system if ":" in system else "", target, display, ""]
        else:
            lines[code] = [code, "", "", "", "omit"]
    return list(lines.values()) if any(one[2] for one in lines.values()) else []


def _table_name(name: str) -> str:
    return name.replace("/", "").replace(" ", "")


def judge(draft: Draft, files: dict[str, bytes]) -> None:
    """Take away the rules that do not load, with their reason."""
    key = "datatype" if draft.is_datatype else "segment"
    kept: list[RuleText] = []
    for rule in draft.rules:
        text = page(key, draft.name, [rule])
        asked = rule.get("as") if rule.get("as") != draft.name else ""
        wanted = (f"datatypes/{asked}.yaml", f"codes/{rule.get('table')}.csv")
        trial = {file: files[file] for file in wanted if file in files}
        trial[f"{key}s/_.yaml"] = text.encode()
        try:
            tables = load_tables([Layer(name="draft", files=trial)])
            compiler = Compiler(tables, load_shapes())
            (compiler.datatype if draft.is_datatype else compiler.segment)(draft.name, "draft")
        except TablesError as err:
            reason = str(err).partition(f"rule {rule['id']}: ")[2] or str(err)
            order = str(rule["ig"]).rpartition("/")[2]
            draft.left.setdefault((order, 1), Left("unsupported", reason))
        else:
            kept.append(rule)
    draft.rules = kept


def page(key: str, name: str, rules: list[RuleText]) -> str:
    """A document as YAML, one rule a line."""
    lines = [f"{key}: {name}", "rules:"]
    lines += [
        "  - {" + ", ".join(f"{k}: {_scalar(v)}" for k, v in one.items()) + "}" for one in rules
    ]
    return "\n".join(lines) + "\n"


def _scalar(value: object) -> str:
    if isinstance(value, str):
        is_plain = value and set(value) <= _PLAIN and not value[0].isdigit()
        return value if is_plain and value not in ("true", "false", "null") else json.dumps(value)
    return json.dumps(value)


def drafts(official: Path) -> tuple[list[Draft], dict[str, bytes]]:
    """All drafts, judged, and the code tables."""
    codes = draft_codes(official / "codesystems")
    every = [
        *rows(official / "datatypes", is_datatype=True),
        *rows(official / "segments", is_datatype=False),
    ]
    by_name = {name: list(found) for name, found in groupby(every, key=lambda row: row.document)}
    tables = [file.removeprefix("codes/").removesuffix(".csv") for file in codes]
    drafter = Drafter(load_shapes(), by_name, tables)
    made = [drafter.draft(found) for found in by_name.values()]
    files = dict(codes)
    for one in made:
        if one.is_datatype and one.rules:
            files[f"datatypes/{one.name}.yaml"] = _stub(one.name).encode()
    for one in made:
        judge(one, files)
    return made, codes


def _stub(name: str) -> str:
    """A document of that name that does nothing: enough to see whether its type fits."""
    target = name.partition("[")[2].partition("-")[0].rstrip("]")
    shapes = load_shapes().types.get(target)
    if shapes is None:
        return page("datatype", name, [{"id": "x", "from": ".1", "to": "$this"}])
    return page(
        "datatype",
        name,
        [{"id": "x", "to": "extension[url=urn:x].valueString", "const": "x"}],
    )


def write_drafts(official: Path, out: Path) -> None:
    """Write all drafts into a folder."""
    made, codes = drafts(official)
    files: dict[str, list[str]] = defaultdict(list)
    for one in made:
        key = "datatype" if one.is_datatype else "segment"
        if one.rules:
            files[f"{key}s/{one.name.partition('[')[0]}.yaml"].append(
                page(key, one.name, one.rules)
            )
    for file, pages in files.items():
        codes[file] = "---\n".join(pages).encode()
    for file, raw in codes.items():
        path = out / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    left = [(one.name, *key, why) for one in made for key, why in one.left.items()]
    for name, order, part, why in left:
        print(f"{why.state}: {name}/{order} ({part}): {why}")
    print(f"{sum(len(one.rules) for one in made)} rules, {len(left)} rows without one")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("official", type=Path)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("--diff", action="store_true")
    options = parser.parse_args()
    if options.diff:
        changes = compare(options.official, STD)
        print("\n".join(changes) or "no official row is new or changed")
        return 1 if changes else 0
    if options.coverage:
        made, _ = drafts(options.official)
        (STD / "coverage.csv").write_text(coverage_page(options.official, STD, made))
        return 0
    if options.out is None:
        parser.error("the folder for the drafts is missing")
    write_drafts(options.official, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
