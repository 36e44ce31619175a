"""The mapper that is judged: the standard tables as they are in the checkout."""

from __future__ import annotations

import importlib
from functools import lru_cache

from adapters.hl7v2.mapping.protocol import Mapper


@lru_cache(maxsize=1)
def default_mapper() -> Mapper:
    """Compiled once a process."""
    made: Mapper = importlib.import_module("adapters.hl7v2.mapping").default_mapper()
    return made


__all__ = ["default_mapper"]
