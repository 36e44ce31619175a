"""The few elements of a resource by which it is routed and addressed; everything else is skipped, unread. Pure.

Read with msgspec from the bytes as they came: of a bundle of 90 kB this takes a hundredth of a full validation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, TypeVar

import msgspec

from adapters.fhir.codec.errors import UnreadableResource

MAX_ENTRIES: Final = 10_000
"""Entries of a bundle that are looked at; a larger bundle is refused."""
_TYPE: Final = re.compile(r"[A-Z][A-Za-z]{1,63}\Z")
_ID: Final = re.compile(r"[A-Za-z0-9.-]{1,64}\Z")
_NONE: Final = msgspec.Raw()


class Identifier(msgspec.Struct, frozen=True):
    """FHIR Identifier: what of it tells one thing from another."""

    system: str = ""
    value: str = ""
    use: str = ""


class Head(msgspec.Struct, frozen=True):
    """What a resource says of itself at its top level. Fields that differ between types stay raw."""

    resource_type: str = msgspec.field(name="resourceType")
    id: str = ""
    identifier: msgspec.Raw = _NONE

    def identifiers(self) -> tuple[Identifier, ...]:
        """Those with a system and a value, as they stand; one or many, by the type of the resource."""
        found = _soft(_ONE_OR_MANY, self.identifier)
        several = found if isinstance(found, list) else [found] if found else []
        return tuple(one for one in several if one.system and one.value)


class EntryRequest(msgspec.Struct, frozen=True):
    """Bundle.entry.request."""

    method: str = ""
    url: str = ""
    if_none_exist: str = msgspec.field(name="ifNoneExist", default="")


class EntryResponse(msgspec.Struct, frozen=True):
    """Bundle.entry.response."""

    status: str = ""


class Entry(msgspec.Struct, frozen=True):
    """Bundle.entry: its resource as the very bytes that came."""

    full_url: str = msgspec.field(name="fullUrl", default="")
    resource: msgspec.Raw = _NONE
    request: EntryRequest | None = None
    response: EntryResponse | None = None


class BundleLink(msgspec.Struct, frozen=True):
    """Bundle.link."""

    relation: str = ""
    url: str = ""


class Bundle(msgspec.Struct, frozen=True):
    """What a bundle says of itself, and its entries."""

    type: str = ""
    total: int | None = None
    link: list[BundleLink] = []
    entry: list[Entry] = []
    resource_type: str = msgspec.field(default="", name="resourceType")
    """Anything but `Bundle`: it is none."""

    def next_link(self) -> str:
        """The address of the next page; empty when there is none."""
        return next((link.url for link in self.link if link.relation == "next"), "")


_Read = TypeVar("_Read")
_HEAD: Final = msgspec.json.Decoder(Head)
_BUNDLE: Final = msgspec.json.Decoder(Bundle)
_ONE_OR_MANY: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(
    Identifier | list[Identifier] | None
)


def read_head(body: bytes) -> Head:
    """The top level of a resource. Raises `UnreadableResource`."""
    try:
        body.decode(
            "utf-8"
        )  # what is skipped is not looked at: RFC 8259 §8.1 wants UTF-8 throughout
    except UnicodeDecodeError:
        raise UnreadableResource("the body is not UTF-8") from None
    head = _read(_HEAD, body)
    if not _TYPE.match(head.resource_type):
        raise UnreadableResource("resourceType is no name of a resource")
    if head.id and not _ID.match(head.id):
        raise UnreadableResource(
            f"{head.resource_type}.id is not 1 to 64 of letters, digits, '-' and '.'"
        )
    return head


def read_bundle(body: bytes) -> Bundle:
    """A bundle's type, links and entries. Raises `UnreadableResource`."""
    bundle = _read(_BUNDLE, body)
    if len(bundle.entry) > MAX_ENTRIES:
        raise UnreadableResource(
            f"the bundle has {len(bundle.entry)} entries; at most {MAX_ENTRIES} are read"
        )
    return bundle


def resources_of(bundle: Bundle) -> Iterator[bytes]:
    """The bytes of each entry's resource, as they stand in the bundle."""
    for entry in bundle.entry:
        raw = bytes(entry.resource)
        if raw and raw != b"null":
            yield raw


def is_resource_type(text: str) -> bool:
    """Whether a text may name a type of resource."""
    return bool(_TYPE.match(text))


def is_id(text: str) -> bool:
    """Whether a text may be the id of a resource (FHIR R4 §2.24.0.1, `id`)."""
    return bool(_ID.match(text))


def _read(decoder: msgspec.json.Decoder[_Read], body: bytes) -> _Read:
    try:
        return decoder.decode(body)
    except RecursionError:
        raise UnreadableResource("the JSON is nested too deeply") from None
    except msgspec.ValidationError:
        # msgspec says where, and where may be a key that a sender made up
        raise UnreadableResource("an element that routes the resource has another type") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise UnreadableResource("the body is not JSON") from None


def _soft(decoder: msgspec.json.Decoder[Any], raw: msgspec.Raw) -> Any:  # noqa: ANN401 (narrowed by both callers)
    """Decode an element whose type differs between resources; None where it is something else."""
    text = bytes(raw)
    if not text:
        return None
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


__all__ = [
    "MAX_ENTRIES",
    "Bundle",
    "BundleLink",
    "Entry",
    "EntryRequest",
    "EntryResponse",
    "Head",
    "Identifier",
    "is_id",
    "is_resource_type",
    "read_bundle",
    "read_head",
    "resources_of",
]
