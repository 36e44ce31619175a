"""Field numbers, append-only: the number of an element is its place in the lock, and no place is ever given twice."""

from __future__ import annotations

import json

from schemas.fhir.generation.model import Model
from schemas.fhir.shapes import UNKNOWN_JSON

Lock = dict[str, list[str]]


def extended(lock: Lock, model: Model) -> Lock:
    """The lock with elements of the model that it lacks put behind those that it has."""
    grown = {name: list(keys) for name, keys in lock.items()}
    for name, fields in model.types.items():
        keys = grown.setdefault(name, [])
        known = set(keys)
        keys.extend(field.key for field in fields if field.key not in known)
        if len(keys) >= UNKNOWN_JSON:
            raise ValueError(f"{name} has {len(keys)} elements; numbers end at {UNKNOWN_JSON - 1}")
    return dict(sorted(grown.items()))


def lock_to_json(lock: Lock) -> str:
    """One type a line; elements in the order of their numbers, from 1."""
    lines = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(' '.join(keys))}" for name, keys in lock.items()
    )
    return f"{{\n{lines}\n}}\n"


def lock_from_json(text: str) -> Lock:
    """Read what `lock_to_json` writes."""
    return {name: keys.split() for name, keys in json.loads(text).items()}


__all__ = ["Lock", "extended", "lock_from_json", "lock_to_json"]
