"""What a client needs for an interaction: SMART's letters for its type, and for every type that a search reaches.

Chains and `_has` tell something of resources that are not in the answer, so they need the right to search those. What
`_include` and `_revinclude` bring is looked at when it is there: `check_results`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

import msgspec

from adapters.fhir.codec.errors import UnreadableResource
from adapters.fhir.codec.partial import is_resource_type, read_bundle, read_head, resources_of
from gateway.access.protocol import Access, Client, Deed
from gateway.fhir.exchange import Refusal
from gateway.fhir.owners import Owner
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb

_LETTERS: Final = {
    pb.KIND_READ: "r",
    pb.KIND_VREAD: "r",
    pb.KIND_CREATE: "c",
    pb.KIND_UPDATE: "u",
    pb.KIND_PATCH: "u",
    pb.KIND_DELETE: "d",
    pb.KIND_HISTORY: "s",
    pb.KIND_SEARCH: "s",
    pb.KIND_VALIDATE: "c",
}
_DEEDS: Final = {
    "r": Deed.READ,
    "s": Deed.SEARCH,
    "c": Deed.WRITE,
    "u": Deed.WRITE,
    "d": Deed.WRITE,
}
_EVERY: Final = "*"
_TYPED: Final = re.compile(r":([A-Z][A-Za-z]{1,63})(?:\.|\Z)")
_BY_BUNDLE: Final = {"GET": "r", "HEAD": "r", "POST": "c", "PUT": "u", "PATCH": "u", "DELETE": "d"}


def check_permits(access: Access, client: Client, interaction: pb.Interaction) -> None:
    """Whether the client may. Raises `gateway.access.protocol.Forbidden`."""
    kind, type_ = interaction.kind, interaction.resource_type or _EVERY
    if kind == pb.KIND_OPERATION:
        return  # what it needs, its owner says: `check_operation`
    letter = "r" if kind == pb.KIND_HISTORY and interaction.id else _LETTERS[kind]
    access.may_fhir(client, type_, letter)
    if interaction.is_conditional or interaction.if_none_exist:
        access.may_fhir(client, type_, "s")  # whether something matches is told
    for parameter in (*interaction.parameters, *interaction.if_none_exist):
        for reached in _reached(parameter.name):
            access.may_fhir(client, reached, "s")


def check_operation(
    access: Access, client: Client, owner: Owner, interaction: pb.Interaction
) -> None:
    """Whether the owner has the operation and the client may use it. Raises `Forbidden`, `Refusal` (404)."""
    letters = owner.letters(interaction.resource_type, interaction.operation)
    if not letters:
        text = f"{interaction.resource_type} has no such operation here (metadata lists them)"
        raise Refusal(HTTPStatus.NOT_FOUND, "not-supported", text)
    for letter in letters:
        access.may_fhir(client, interaction.resource_type, letter)


def check_entry(access: Access, client: Client, method: str, url: str, if_none_exist: str) -> None:
    """Whether the client may do what one entry of a transaction says. Raises `Forbidden`."""
    path, _, query = url.partition("?")
    type_ = path.strip("/").split("/")[0]
    type_ = type_ if is_resource_type(type_) else _EVERY
    access.may_fhir(client, type_, _BY_BUNDLE.get(method, "d"))
    if query or if_none_exist:
        access.may_fhir(client, type_, "s")
    for name in re.findall(r"(?:\A|&)([^=&]+)", f"{query}&{if_none_exist}"):
        for reached in _reached(name):
            access.may_fhir(client, reached, "s")


def check_compartment(client: Client, owner: Owner) -> None:
    """A client that is confined to one patient is served only where the owner keeps to that. Raises `Refusal` (403)."""
    if client.compartment and not owner.keeps_compartments:
        text = f"{owner.service} cannot confine a client to one patient"
        raise Refusal(HTTPStatus.FORBIDDEN, "forbidden", text)


def check_results(access: Access, client: Client, body: bytes) -> None:
    """Every resource of a searchset or history is of a type that the client may read. Raises `Forbidden`.

    Raises `Refusal` (502) for a body that is no Bundle.
    """
    try:
        bundle = read_bundle(body)
    except UnreadableResource:
        raise _no_bundle() from None
    if bundle.resource_type != "Bundle":
        raise _no_bundle()
    kinds = {_type_of(one) for one in resources_of(bundle)}
    for kind in kinds - {"OperationOutcome"}:
        access.may_fhir(client, kind, "r")


def deed_of(interaction: pb.Interaction) -> Deed:
    """What an access record calls it."""
    if interaction.kind == pb.KIND_TRANSACTION:
        return Deed.WRITE
    if interaction.kind == pb.KIND_OPERATION:
        return Deed.CALL
    return _DEEDS[_LETTERS[interaction.kind]]


def what_of(interaction: pb.Interaction) -> str:
    """What an access record says was meant. Protected."""
    path = "/".join(
        filter(None, (interaction.resource_type, interaction.id, interaction.operation))
    )
    asked = (*interaction.parameters, *interaction.if_none_exist)
    query = "&".join(f"{one.name}={one.value}" for one in asked)
    return f"{path or 'Bundle'}?{query}" if query else path or "Bundle"


def _no_bundle() -> Refusal:
    text = "the owner answered with something that is no Bundle"
    return Refusal(HTTPStatus.BAD_GATEWAY, "exception", text)


def _type_of(resource: bytes) -> str:
    try:
        return read_head(resource).resource_type
    except (UnreadableResource, msgspec.DecodeError):
        text = "the owner answered with an entry that is no resource"
        raise Refusal(HTTPStatus.BAD_GATEWAY, "exception", text) from None


def _reached(name: str) -> Iterator[str]:
    """Types besides the searched one on which a parameter depends; `*` where it does not say."""
    if name.startswith("_has:"):
        yield from (one for one in name.split(":")[1:] if is_resource_type(one))
        if "." in name:
            yield _EVERY
    elif "." in name:
        typed = _TYPED.findall(name)
        yield from typed
        if len(typed) < name.count("."):
            yield _EVERY


__all__ = [
    "check_compartment",
    "check_entry",
    "check_operation",
    "check_permits",
    "check_results",
    "deed_of",
    "what_of",
]
