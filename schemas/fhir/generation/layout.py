"""Which file a type lies in: one for the data types, one for each resource, so that each can be loaded alone."""

from __future__ import annotations

import re

from schemas.fhir.archive import DATATYPES
from schemas.fhir.generation.model import Model


def snake(name: str) -> str:
    """`effectiveDateTime` as `effective_date_time`."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def layout(model: Model) -> dict[str, list[str]]:
    """File stem to the names of its types, sorted. What two files use is a data type."""
    owner = {name: _owner(name, model) for name in model.types}
    users: dict[str, set[str]] = {}
    for name, fields in model.types.items():
        for field in fields:
            users.setdefault(field.type, set()).add(name)
    changed = True
    while changed:
        shared = [
            name
            for name, resource in owner.items()
            if resource
            and name not in model.resources
            and any(owner[user] != resource for user in users.get(name, ()))
        ]
        for name in shared:
            owner[name] = None
        changed = bool(shared)
    files: dict[str, list[str]] = {DATATYPES: []}
    for name in sorted(model.types):
        resource = owner[name]
        files.setdefault(snake(resource) if resource else DATATYPES, []).append(name)
    return files


def _owner(name: str, model: Model) -> str | None:
    """The resource whose name the type's begins with, the longest of them; a data type has none."""
    if name in model.resources:
        return name
    found = [resource for resource in model.resources if name.startswith(resource)]
    return max(found, key=len, default=None)


__all__ = ["layout", "snake"]
