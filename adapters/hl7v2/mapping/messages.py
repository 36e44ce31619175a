"""Message documents: which resources a kind of message gives."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from adapters.hl7v2.mapping.errors import TablesError, nearest
from adapters.hl7v2.mapping.model import MessageDocument, Place, ResourceRule, Use, Where, Write
from adapters.hl7v2.mapping.protocol import Json
from adapters.hl7v2.mapping.reading import Reader

_KEYS: Final = frozenset(
    [
        "message",
        "type",
        "events",
        "structures",
        "like",
        "bundle",
        "resources",
        "override",
        "extend",
        "disable",
        "note",
    ]
)
_RESOURCE_KEYS: Final = frozenset(
    {"name", "type", "from", "outside", "once", "when", "documents", "refs", "prefer"}
    | {"identity", "parent", "write", "note"}
)
_ANCHOR: Final = re.compile(r"(?:(?P<group>[A-Z][A-Z0-9_]*)\.)?(?P<segment>[A-Z][A-Z0-9]{2})\Z")
MAX_RESOURCES: Final = 200


def read_message(
    value: Json, place: Place, known: Mapping[str, MessageDocument]
) -> MessageDocument:
    """One message document as it stands, laid over that of earlier layers; `like` is not followed yet."""
    reader = Reader(value, str(place), _KEYS)
    name = reader.name("message")
    reader.where = f"{place}: {name}"
    earlier = known.get(name) or MessageDocument(name=name, place=place)
    return replace(
        earlier,
        place=place,
        type=reader.text("type") or earlier.type,
        events=reader.texts("events") or earlier.events,
        structures=reader.texts("structures") or earlier.structures,
        like=reader.text("like") or earlier.like,
        bundle=reader.texts("bundle") or earlier.bundle,
        resources={},
    )


def change_resources(
    value: Json, place: Place, resources: Mapping[str, ResourceRule]
) -> dict[str, ResourceRule]:
    """Apply a document's `disable`, `override`, `resources` and `extend` to what is there. Raises `TablesError`."""
    reader = Reader(value, str(place), _KEYS)
    reader.where = f"{place}: {reader.name('message')}"
    found = dict(resources)
    for one in reader.texts("disable"):
        _expect(one, found, "disable", reader)
        del found[one]
    for item in reader.items("override"):
        rule = _resource(item, reader.where, place)
        _expect(rule.name, found, "override", reader)
        found[rule.name] = rule
    for item in reader.items("resources"):
        rule = _resource(item, reader.where, place)
        if rule.name in found:
            raise TablesError(
                f"{reader.where}: resources: {rule.name!r} is taken; write it under 'override' to "
                "replace it, or under 'extend' to add to it"
            )
        found[rule.name] = rule
    for item in reader.items("extend"):
        more = Reader(item, f"{reader.where}: extend", {"name", "documents", "refs", "note"})
        name = more.name("name")
        _expect(name, found, "extend", reader)
        old = found[name]
        found[name] = replace(
            old, uses=old.uses + _uses(more), refs={**old.refs, **more.pairs("refs")}
        )
    if len(found) > MAX_RESOURCES:
        raise TablesError(f"{reader.where}: {len(found)} resources; {MAX_RESOURCES} are allowed")
    return found


def _expect(name: str, known: Mapping[str, ResourceRule], key: str, reader: Reader) -> None:
    if name not in known:
        raise TablesError(
            f"{reader.where}: {key}: there is no resource {name!r}{nearest(name, known)}"
        )


def _resource(value: Json, where: str, place: Place) -> ResourceRule:
    reader = Reader(value, f"{where}: resource", _RESOURCE_KEYS)
    name = reader.name("name")
    reader.where = f"{where}: resource {name}"
    identity = reader.texts("identity")
    is_only = identity[:1] == ("only",)
    return ResourceRule(
        name=name,
        place=place,
        type=reader.text("type", required=True),
        anchors=tuple(_anchor(one, reader) for one in reader.texts("from")) or _no_anchor(reader),
        outside=frozenset(reader.texts("outside")),
        once=reader.flag("once"),
        when=reader.text("when"),
        uses=_uses(reader),
        refs=reader.pairs("refs"),
        prefer=reader.texts("prefer"),
        identity=identity[1:] if is_only else identity,
        identity_only=is_only,
        parent=reader.text("parent"),
        write=Write(reader.one_of("write", [one.value for one in Write]) or "update"),
    )


def _no_anchor(reader: Reader) -> tuple[tuple[str, str], ...]:
    raise reader.error("from", "the segment that the resource comes from is expected")


def _anchor(text: str, reader: Reader) -> tuple[str, str]:
    found = _ANCHOR.match(text)
    if found is None:
        raise reader.error("from", "a segment such as OBX or SPECIMEN.OBX is expected")
    return found["group"] or "", found["segment"]


def _uses(reader: Reader) -> tuple[Use, ...]:
    uses = []
    for item in reader.items("documents"):
        if isinstance(item, str):
            uses.append(Use(document=item))
            continue
        one = Reader(item, f"{reader.where}: documents", {"document", "where", "outside"})
        where = one.one_of("where", [place.value for place in Where]) or "group"
        uses.append(
            Use(
                document=one.text("document", required=True),
                where=Where(where),
                outside=frozenset(one.texts("outside")),
            )
        )
    return tuple(uses)


__all__ = ["change_resources", "read_message"]
