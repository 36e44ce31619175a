"""A binding compiled to one function that says whether a message fits it. Nothing is compiled while messages pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from google.protobuf.message import DecodeError, Message

from schemas.registry.closures import Closure
from schemas.registry.errors import Misfit, SchemaRefused
from schemas.registry.models import Binding, Depth, Kind
from schemas.registry.peeks import hl7_type, resource_type, whole_resource_type
from schemas.registry.words import media_type, shown_list, shown_resource, shown_type

Fits = Callable[[str, bytes], None]
"""`fits(content_type, body)`. Raises `SchemaRefused`."""
_JSON: Final = frozenset({"application/fhir+json", "application/json"})


def compile_check(binding: Binding, closure: Closure | None) -> Fits:
    """The check of a binding; a protobuf binding of depth full needs its `closure`, without it the type is checked.

    Raises `SchemaError` when the closure does not have the binding's message type.
    """
    types = _types(binding)
    is_full = binding.depth is Depth.FULL
    match binding.kind:
        case Kind.FHIR:
            return _fhir(binding, types)
        case Kind.HL7V2 if is_full:
            return _hl7(binding, types)
        case Kind.PROTOBUF if is_full and closure is not None:
            return _protobuf(binding, types, closure.message_class(binding.message))
        case _:
            return types


def expectation(binding: Binding) -> str:
    """What a binding takes, in words of our own."""
    types = shown_list(binding.content_types)
    match binding.kind:
        case Kind.PROTOBUF:
            return f"{binding.message} ({types})"
        case Kind.FHIR:
            return (
                f"FHIR {binding.release} {shown_list(binding.resources) or 'resources'} ({types})"
            )
        case _:
            return types


def _types(binding: Binding) -> Fits:
    exact = frozenset(binding.content_types)
    begun = tuple(one[:-1] for one in binding.content_types if one.endswith("*"))
    misfit = Misfit.MESSAGE_TYPE if binding.kind is Kind.HL7V2 else Misfit.CONTENT_TYPE

    def check(content_type: str, body: bytes) -> None:
        if content_type in exact:
            return
        bare = media_type(content_type)
        if bare in exact or (begun and bare.startswith(begun)):
            return
        raise _refused(binding, misfit, shown_type(content_type))

    return check


def _fhir(binding: Binding, types: Fits) -> Fits:
    allowed = frozenset(binding.resources)
    is_full = binding.depth is Depth.FULL

    def check(content_type: str, body: bytes) -> None:
        types(content_type, body)
        if not (allowed or is_full):
            return
        if content_type not in _JSON and media_type(content_type) not in _JSON:
            return
        found = whole_resource_type(body) if is_full else resource_type(body)
        if found is None:
            raise _refused(binding, Misfit.UNREADABLE, "no JSON object")
        if not found:
            raise _refused(binding, Misfit.RESOURCE_TYPE, "JSON without a resourceType")
        if allowed and found not in allowed:
            raise _refused(binding, Misfit.RESOURCE_TYPE, shown_resource(found, binding.resources))

    return check


def _hl7(binding: Binding, types: Fits) -> Fits:
    def check(content_type: str, body: bytes) -> None:
        types(content_type, body)
        found = hl7_type(body)
        if not found:
            raise _refused(binding, Misfit.UNREADABLE, "no HL7 v2 message")
        types(found, body)

    return check


def _protobuf(binding: Binding, types: Fits, message: type[Message]) -> Fits:
    def check(content_type: str, body: bytes) -> None:
        types(content_type, body)
        try:
            parsed = message.FromString(body)
        except (DecodeError, RecursionError):
            raise _refused(binding, Misfit.UNREADABLE, "not of that message type") from None
        whole = parsed.ByteSize()
        parsed.DiscardUnknownFields()
        if parsed.ByteSize() != whole:
            raise _refused(binding, Misfit.UNKNOWN_FIELDS, "a message with fields unknown to it")

    return check


def _refused(binding: Binding, misfit: Misfit, seen: str) -> SchemaRefused:
    return SchemaRefused(
        pattern=binding.pattern, misfit=misfit, expected=expectation(binding), seen=seen
    )


__all__ = ["Fits", "compile_check", "expectation"]
