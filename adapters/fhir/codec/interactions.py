"""Which interaction delivers a resource, and whether it may be sent twice. Pure (FHIR R4 §3.1.0, http.html).

The body is never touched: an interaction is a method, an address and headers around the bytes of the event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from adapters.fhir.codec.errors import Undeliverable, Unidentified
from adapters.fhir.codec.partial import Bundle, Head, Identifier, read_bundle, read_head


class Interaction(StrEnum):
    """How a resource of a type is delivered."""

    AUTO = "auto"
    UPDATE = "update"
    CONDITIONAL_UPDATE = "conditional-update"
    CONDITIONAL_CREATE = "conditional-create"
    CREATE = "create"


class Unrepeatable(StrEnum):
    """What to do with content of which a second try could make a second one."""

    REFUSE = "refuse"
    SEND = "send"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a way out chooses."""

    by_type: Mapping[str, Interaction] = field(default_factory=lambda: MappingProxyType({}))
    identifier_systems: tuple[str, ...] = ()
    """Systems whose identifiers are taken first, in this order."""
    unrepeatable: Unrepeatable = Unrepeatable.REFUSE


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One request to the server."""

    interaction: str
    """For counters: `update`, `conditional_update`, `transaction`, …"""
    method: str
    path: str
    """Below the base, query included, percent-encoded; it may hold an identifier: never log it."""
    headers: tuple[tuple[str, str], ...] = ()
    repeatable: bool = True
    """Whether sending it again after a silence leaves the server as once would."""


_UNIQUE_USES: Final = ("old", "temp")
_TRANSACTIONS: Final = ("transaction", "batch")
_ANSWERS: Final = (
    "transaction-response",
    "batch-response",
    "searchset",
    "history",
    "subscription-notification",
)
_REPEATABLE: Final = ("GET", "HEAD", "PUT", "DELETE")


def plan(body: bytes, policy: Policy) -> Plan:
    """The request for one event's body. Raises `UnreadableResource`, `Unidentified`, `Undeliverable`."""
    head = read_head(body)
    if head.resource_type == "Bundle":
        bundle = read_bundle(body)
        special = _bundle(bundle, policy)
        if special is not None:
            return special
    return _single(head, policy)


def _bundle(bundle: Bundle, policy: Policy) -> Plan | None:
    """The plan for a bundle that is an interaction; None for one that is stored as it is."""
    if bundle.type in _ANSWERS:
        raise Undeliverable(
            f"a Bundle of type {bundle.type} is an answer or a notification; no server takes it"
        )
    if bundle.type == "message":
        # messaging.html: a receiver answers a message that it knows as it answered the first
        return Plan(interaction="message", method="POST", path="$process-message")
    if bundle.type not in _TRANSACTIONS:
        return None
    repeatable = is_repeatable(bundle)
    if not repeatable and policy.unrepeatable is Unrepeatable.REFUSE:
        raise Unidentified(
            "an entry of the bundle creates without ifNoneExist (or patches): a second try could make a second "
            'resource; unrepeatable = "send" sends it all the same, once'
        )
    return Plan(interaction=bundle.type, method="POST", path="", repeatable=repeatable)


def is_repeatable(bundle: Bundle) -> bool:
    """Whether every entry of a transaction or batch leaves the server the same when it comes twice."""
    for entry in bundle.entry:
        request = entry.request
        if request is None:
            return False
        conditional = request.method == "POST" and request.if_none_exist
        if request.method not in _REPEATABLE and not conditional:
            return False
    return True


def _single(head: Head, policy: Policy) -> Plan:
    chosen = policy.by_type.get(head.resource_type, Interaction.AUTO)
    match chosen:
        case Interaction.AUTO:
            return _auto(head, policy)
        case Interaction.UPDATE:
            return _update(head)
        case Interaction.CONDITIONAL_UPDATE:
            return _conditional_update(head, _identifier(head, policy))
        case Interaction.CONDITIONAL_CREATE:
            return _conditional_create(head, _identifier(head, policy))
        case Interaction.CREATE:
            return Plan(
                interaction="create", method="POST", path=head.resource_type, repeatable=False
            )


def _auto(head: Head, policy: Policy) -> Plan:
    """By id where it has one, since others refer to it by that; else by identifier."""
    if head.id:
        return _update(head)
    if preferred(head.identifiers(), policy.identifier_systems) is not None:
        return _conditional_update(head, _identifier(head, policy))
    if policy.unrepeatable is Unrepeatable.SEND:
        return Plan(interaction="create", method="POST", path=head.resource_type, repeatable=False)
    raise Unidentified(
        f"{head.resource_type} has neither an id nor an identifier with a system: a second try could make a second "
        'one; unrepeatable = "send" creates it all the same, once'
    )


def _update(head: Head) -> Plan:
    if not head.id:
        raise Unidentified(f"{head.resource_type} has no id to update it by")
    return Plan(interaction="update", method="PUT", path=f"{head.resource_type}/{head.id}")


def _conditional_update(head: Head, identifier: Identifier) -> Plan:
    return Plan(
        interaction="conditional_update",
        method="PUT",
        path=f"{head.resource_type}?{identifier_query(identifier)}",
    )


def _conditional_create(head: Head, identifier: Identifier) -> Plan:
    return Plan(
        interaction="conditional_create",
        method="POST",
        path=head.resource_type,
        headers=(("if-none-exist", identifier_query(identifier)),),
    )


def _identifier(head: Head, policy: Policy) -> Identifier:
    found = preferred(head.identifiers(), policy.identifier_systems)
    if found is None:
        raise Unidentified(f"{head.resource_type} has no identifier with a system and a value")
    return found


def preferred(identifiers: tuple[Identifier, ...], systems: tuple[str, ...]) -> Identifier | None:
    """The identifier that tells a resource from others: of the first system that it has one of; else its first.

    With `systems` given no other one will do: two senders must not choose differently.
    """
    lasting = [one for one in identifiers if one.use not in _UNIQUE_USES]
    if not systems:
        return lasting[0] if lasting else None
    for system in systems:
        for one in lasting:
            if one.system == system:
                return one
    return None


def identifier_query(identifier: Identifier) -> str:
    """`identifier=system|value`, escaped as FHIR's search does it, then percent-encoded."""
    text = f"{_escaped(identifier.system)}|{_escaped(identifier.value)}"
    return f"identifier={quote(text, safe='')}"


def _escaped(text: str) -> str:
    for special in ("\\", "|", ",", "$"):
        text = text.replace(special, f"\\{special}")
    return text


__all__ = [
    "Interaction",
    "Plan",
    "Policy",
    "Unrepeatable",
    "identifier_query",
    "is_repeatable",
    "plan",
    "preferred",
]
