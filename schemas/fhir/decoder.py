"""The bytes of a protobuf message to FHIR JSON. The bytes may come from anyone: what they claim is checked."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol, TypeAlias

import msgspec
import orjson
from google.protobuf.message import DecodeError, Message

from schemas.fhir.catalogue import Catalogue, catalogue
from schemas.fhir.errors import MalformedFhir, NewerFhirSchema
from schemas.fhir.loading import LOADING, one_each
from schemas.fhir.release import Release
from schemas.fhir.shapes import UNKNOWN_JSON, Kind, Slot
from schemas.fhir.text import NUMBER, parse

Tree: TypeAlias = "dict[str, object]"


class _Opened:
    """A resource on its way to JSON: the message's tree first, its text when those inside it have theirs."""

    __slots__ = ("body", "name", "text", "tree")

    def __init__(self, name: str, body: bytes) -> None:
        self.name = name
        self.body = body
        self.tree: Tree = {"resourceType": name}
        self.text = b""


Found: TypeAlias = "list[_Opened]"
# protobuf's field values have no common type
Show: TypeAlias = Callable[[Any, Found], object]
Plan: TypeAlias = "dict[object, tuple[str, Plan | None, Show | None]]"
"""By field descriptor: the key, and the plan of one message, or what shows the value; else it is shown as it is."""

_rest: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_number = NUMBER.fullmatch


def _decimal(value: str, _found: Found) -> object:
    if _number(value) is None:
        raise MalformedFhir("a decimal of the message is no number")
    return orjson.Fragment(value)


def _base64(value: bytes, _found: Found) -> object:
    return b64encode(value).decode()


class _Box(Protocol):
    type: str
    proto: bytes
    json: bytes


def _box(value: _Box, found: Found) -> object:
    if value.json:
        parse(value.json)
        return orjson.Fragment(value.json)
    opened = _Opened(value.type, value.proto)
    found.append(opened)
    return opened


def _texts(values: Iterable[str], _found: Found) -> object:
    return [value or None for value in values]


def _listed(values: Iterable[object], _found: Found) -> object:
    return list(values)


def _each(show: Show) -> Show:
    def show_all(values: Iterable[object], found: Found) -> object:
        return [show(value, found) for value in values]

    return show_all


_ONE: Final[dict[Kind, Show]] = {
    Kind.DECIMAL: _decimal,
    Kind.BASE64: _base64,
    Kind.RESOURCE: _box,
}


class Decoder:
    """Writes the JSON of messages of one release."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._plans: dict[str, Plan] = {}
        self._resources: dict[str, tuple[type[Message], Plan]] = {}

    def decode(self, name: str, body: bytes) -> bytes:
        """The JSON of a resource, given its type and its serialised message.

        Resources in resources are opened one behind the other, however deep they lie. Raises `MalformedFhir` when the
        bytes are no such message, and `NewerFhirSchema` when they hold fields that would be lost.
        """
        opened = [_Opened(name, body)]
        try:
            for each in opened:  # grows while boxes are found
                self._open(each, opened)
            for each in reversed(opened):
                each.text = orjson.dumps(each.tree, default=_finished)
        except DecodeError:
            raise MalformedFhir("the bytes are no message of the type that they claim") from None
        except (RecursionError, orjson.JSONEncodeError):
            raise MalformedFhir("the message is nested too deep") from None
        return opened[0].text

    def _open(self, opened: _Opened, found: Found) -> None:
        known = self._resources.get(opened.name)
        if known is None:
            known = self._load(opened.name)
        message = known[0].FromString(opened.body)
        _refuse_unknown_fields(message, opened.body)
        _show(message, known[1], opened.tree, found)

    def _load(self, name: str) -> tuple[type[Message], Plan]:
        if name not in self._catalogue.resources:
            raise MalformedFhir("a resource of the message has a type that the release lacks")
        with LOADING:
            known = self._catalogue.wire_class(name), self._plan(name)
            self._resources[name] = known
        return known

    def _plan(self, name: str) -> Plan:
        plan = self._plans.get(name)
        if plan is None:
            plan = self._plans[name] = {}  # known before it is filled: types refer to themselves
            fields = self._catalogue.wire_class(name).DESCRIPTOR.fields_by_number
            for slot in self._catalogue.shape(name):
                inner = self._plan(slot.type) if slot.type else None
                if inner is None or slot.repeated:
                    plan[fields[slot.number]] = slot.key, None, _show_of(slot, inner)
                else:
                    plan[fields[slot.number]] = slot.key, inner, None
        return plan


@one_each
def decoder(release: Release) -> Decoder:
    """The one decoder of a release in this process."""
    return Decoder(catalogue(release))


def _show(message: Message, plan: Plan, tree: Tree, found: Found) -> Tree:
    for field, value in message.ListFields():
        try:
            key, inner, show = plan[field]
        except KeyError:
            _add_rest(value, tree)
            continue
        if inner is not None:
            tree[key] = _show(value, inner, {}, found)
        elif show is None:
            tree[key] = value
        else:
            tree[key] = show(value, found)
    return tree


def _show_of(slot: Slot, inner: Plan | None) -> Show | None:
    """What shows a field's value: of messages, lists only."""
    if inner is not None:
        return _messages(inner, slot.kind)
    one = _ONE.get(slot.kind)
    if not slot.repeated:
        return one
    if slot.kind is Kind.STRING:
        return _texts
    return _each(one) if one else _listed


def _messages(plan: Plan, kind: Kind) -> Show:
    def show(values: Iterable[Message], found: Found) -> object:
        return [_show(value, plan, {}, found) for value in values]

    def show_or_null(values: Iterable[Message], found: Found) -> object:
        return [_show(value, plan, {}, found) or None for value in values]

    return show_or_null if kind is Kind.SIBLING else show


def _add_rest(raw: bytes, tree: Tree) -> None:
    """Put back what `unknown_json` holds. It cannot stand in for what the message itself says."""
    if not isinstance(parse(raw), dict):
        raise MalformedFhir("unknown_json of the message is no JSON object")
    for key, value in _rest.decode(raw).items():
        if key in tree:
            raise MalformedFhir("unknown_json of the message repeats an element")
        tree[key] = orjson.Fragment(bytes(value))


def _refuse_unknown_fields(message: Message, body: bytes) -> None:
    message.DiscardUnknownFields()
    known = message.ByteSize()
    # a writer may spell the same fields in another size: only then is it looked at twice
    if known != len(body) and known != message.FromString(body).ByteSize():
        raise NewerFhirSchema(
            f"the message has fields that this version's schemas lack (unknown_json is {UNKNOWN_JSON}); "
            "the sender runs a newer version"
        )


def _finished(opened: object) -> orjson.Fragment:
    if isinstance(opened, _Opened):
        return orjson.Fragment(opened.text)
    raise TypeError(f"a tree holds no {type(opened).__name__}")


__all__ = ["Decoder", "decoder"]
