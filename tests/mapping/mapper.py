"""The mapper that is judged: the standard tables as they are in the checkout, and layers over them."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import orjson
import pytest

from adapters.hl7v2.mapping.protocol import Mapper
from tests.shared_data import ROOT

TABLES: Final = ROOT / "adapters" / "hl7v2" / "maps" / "std"


@lru_cache(maxsize=4)
def mapper_of(*layers: str) -> Mapper:
    """The mapper of `std` and layers that ship over it, compiled once a process."""
    if not layers:
        return default_mapper()
    mapping = importlib.import_module("adapters.hl7v2.mapping")
    made: Mapper = mapping.compile_mapper(mapping.load_tables(("std", *layers)))
    return made


@lru_cache(maxsize=1)
def default_mapper() -> Mapper:
    """Compiled once a process. Skips while there are no tables, and fails then with CI=true."""
    if not any(TABLES.glob("messages/*.yaml")):
        reason = "there are no standard mapping tables"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    made: Mapper = importlib.import_module("adapters.hl7v2.mapping").default_mapper()
    return made


def written(bundle: Mapping[str, Any]) -> dict[str, Any]:
    """A bundle as a receiver reads it: written to JSON as the product writes it, and read again."""
    write = importlib.import_module("adapters.hl7v2.mapping.writing").to_json
    found: dict[str, Any] = orjson.loads(write(bundle))
    return found


__all__ = ["default_mapper", "mapper_of", "written"]
