"""What references lead to in a bundle: by full URL, type and id, identifier, or contained. Nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

Resource: TypeAlias = dict[str, object]
_CONDITION: Final = "?identifier="


class References:
    """An index over a bundle, made once."""

    def __init__(self, bundle: Resource) -> None:
        self._known: dict[str, Resource] = {}
        self._containers: dict[int, Resource] = {}
        self.resources: list[tuple[str, Resource]] = []
        """Each resource of an entry with its place, such as `entry[3]`."""
        for i, entry in enumerate(_dicts(bundle.get("entry"))):
            resource = entry.get("resource")
            if isinstance(resource, dict):
                self.resources.append((f"entry[{i}]", resource))
                self._add(resource, entry.get("fullUrl"))

    def _add(self, resource: Resource, full_url: object) -> None:
        kind = resource.get("resourceType")
        if isinstance(full_url, str):
            self._known.setdefault(full_url, resource)
        if isinstance(resource.get("id"), str):
            self._known.setdefault(f"{kind}/{resource['id']}", resource)
        for identifier in _dicts(resource.get("identifier")):
            key = f"{kind}{_CONDITION}{identifier.get('system') or ''}|{identifier.get('value')}"
            self._known.setdefault(key, resource)
        for contained in _dicts(resource.get("contained")):
            self._containers[id(contained)] = resource

    def find(self, reference: object, holder: Resource) -> Resource | None:
        """What a Reference (or its text) in a resource leads to; None when that is not here."""
        text = reference.get("reference") if isinstance(reference, dict) else reference
        if not isinstance(text, str):
            return None
        if text.startswith("#"):
            container = self._containers.get(id(holder), holder)
            if text == "#":
                return container
            inner = _dicts(container.get("contained"))
            return next((one for one in inner if one.get("id") == text[1:]), None)
        return self._known.get(text) or self._known.get(text.partition("/_history/")[0])


def _dicts(value: object) -> Iterator[Resource]:
    if isinstance(value, list):
        yield from (one for one in value if isinstance(one, dict))


__all__ = ["References", "Resource"]
