"""Names of the official rows: `PID[Patient]/5` is the table and the row's sort order (of a code table, the code)."""

from __future__ import annotations

import csv
import re
from functools import lru_cache
from typing import Final

from tests.shared_data import shared_path

FOLDER: Final = "data/mapping/v2-to-fhir"
_TABLE: Final = re.compile(r"(?:R4|Concept Map)_ (.+?) - [^-]*\.csv\Z")


@lru_cache(maxsize=1)
def official_rows() -> frozenset[str]:
    """All of them. Skips or fails like `shared_path`."""
    found = set()
    for path in shared_path(FOLDER).rglob("*.csv"):
        table = _TABLE.search(path.name)
        if table is None:
            continue
        with path.open(encoding="utf-8-sig", newline="") as lines:
            found |= {
                f"{table[1]}/{row[0].strip()}"
                for row in csv.reader(lines)
                if row and row[0].strip()
            }
    return frozenset(found)


__all__ = ["FOLDER", "official_rows"]
