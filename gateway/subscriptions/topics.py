"""Topics: what can be subscribed to. One for each type, and those of files (FHIR R5 SubscriptionTopic)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from adapters.fhir.codec.partial import is_resource_type
from adapters.fhir.store.events import Change
from schemas.errors import ConfigurationError

BUILT_IN: Final = "urn:medmesh:topic:resource-change:"
_CHANGES: Final = {
    "create": Change.CREATED,
    "update": Change.UPDATED,
    "delete": Change.DELETED,
}
_NAMES: Final = {change: name for name, change in _CHANGES.items()}
_MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """What of a topic is set off by changes of one type."""

    type: str
    changes: frozenset[Change]
    previous: str = ""
    """Search parameters that the version before must fit; empty: any."""
    current: str = ""
    for_create: bool = True
    """What a missing version before counts as."""
    for_delete: bool = True
    """What a missing current version counts as."""
    needs_both: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic."""

    url: str
    title: str
    triggers: tuple[Trigger, ...]
    filters: Mapping[str, frozenset[str]] | None = None
    """By type (or ""): parameters by which it may be filtered; None: by every one."""
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """As it was configured."""

    @property
    def types(self) -> frozenset[str]:
        """The types that set it off."""
        return frozenset(one.type for one in self.triggers)

    def may_filter(self, type_: str, name: str) -> bool:
        """Whether a filter by a parameter is offered."""
        if self.filters is None:
            return True
        return name in self.filters.get(type_, ()) or name in self.filters.get("", ())

    def resource(self) -> dict[str, Any]:
        """As a SubscriptionTopic of R5."""
        if self.document:
            return {**self.document, "id": id_of(self.url)}
        triggers = [
            {"resource": one.type, "supportedInteraction": [_NAMES[c] for c in sorted(one.changes)]}
            for one in self.triggers
        ]
        return {
            "resourceType": "SubscriptionTopic",
            "id": id_of(self.url),
            "url": self.url,
            "title": self.title,
            "status": "active",
            "resourceTrigger": triggers,
        }


def id_of(url: str) -> str:
    """The logical id of a topic: the end of its address."""
    tail = "".join(one if one.isalnum() or one in "-." else "-" for one in url)
    return tail[-64:].lstrip("-.")


def built_in(types: Iterable[str]) -> list[Topic]:
    """A topic for each type: every create, update and delete."""
    return [
        Topic(
            url=BUILT_IN + name,
            title=f"Changes of {name}",
            triggers=(Trigger(type=name, changes=frozenset(Change)),),
        )
        for name in types
    ]


def read_topics(folder: Path) -> list[Topic]:
    """The topics of a folder's `*.json`. Raises `ConfigurationError`."""
    try:
        files = sorted(folder.glob("*.json"))
        texts = [(file, file.read_bytes()[:_MAX_BYTES]) for file in files]
    except OSError as error:
        raise ConfigurationError(f"gateway.subscriptions.topics: {error.strerror}") from error
    if not texts:
        raise ConfigurationError(f"gateway.subscriptions.topics: {folder} has no *.json")
    return [_read(file, text) for file, text in texts]


def _read(file: Path, text: bytes) -> Topic:
    try:
        return _topic(orjson.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        words = f"{file.name}: no SubscriptionTopic (R5) that can be used here: {error}"
        raise ConfigurationError(f"gateway.subscriptions.topics: {words}") from error


def _topic(document: Mapping[str, Any]) -> Topic:
    if document["resourceType"] != "SubscriptionTopic" or not document["url"]:
        raise ValueError("no SubscriptionTopic with a url")
    triggers = tuple(_trigger(one) for one in document["resourceTrigger"])
    if not triggers:
        raise ValueError("no resourceTrigger")
    return Topic(
        url=str(document["url"]),
        title=str(document.get("title", document["url"])),
        triggers=triggers,
        filters=_filters(document.get("canFilterBy", [])),
        document=document,
    )


def _trigger(one: Mapping[str, Any]) -> Trigger:
    refused = sorted({"fhirPathCriteria"} & one.keys())
    if refused:
        raise ValueError(f"{refused[0]} is not supported: use queryCriteria")
    criteria = one.get("queryCriteria", {})
    names = one.get("supportedInteraction", list(_CHANGES))
    return Trigger(
        type=_type(one["resource"]),
        changes=frozenset(_CHANGES[name] for name in names),
        previous=_query(criteria.get("previous", "")),
        current=_query(criteria.get("current", "")),
        for_create=criteria.get("resultForCreate", "test-passes") == "test-passes",
        for_delete=criteria.get("resultForDelete", "test-passes") == "test-passes",
        needs_both=bool(criteria.get("requireBoth", False)),
    )


def _type(text: str) -> str:
    name = text.rpartition("/")[2]
    if not is_resource_type(name):
        raise ValueError("resourceTrigger.resource is no type")
    return name


def _query(text: str) -> str:
    """Without the type in front: `Encounter?status=in-progress` is `status=in-progress`."""
    return text.partition("?")[2] if "?" in text else text


def _filters(listed: Sequence[Mapping[str, Any]]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for one in listed:
        type_ = _type(one["resource"]) if "resource" in one else ""
        found.setdefault(type_, set()).add(str(one["filterParameter"]))
    return {type_: frozenset(names) for type_, names in found.items()}


__all__ = ["BUILT_IN", "Topic", "Trigger", "built_in", "id_of", "read_topics"]
