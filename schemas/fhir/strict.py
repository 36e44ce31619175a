"""The fast way in: msgspec parses and checks a document in C, and refuses whatever protobuf would not carry exactly.

What passes here fits the message's constructor as it is, but for decimals and resources, which stay `msgspec.Raw`,
their text untouched. What does not pass (null in a list, an unknown element, a wrong type, an empty list) is left to
`schemas.fhir.careful`.
"""

from __future__ import annotations

import binascii
from base64 import b64encode
from typing import Annotated, Final

import msgspec

from schemas.fhir.catalogue import catalogue
from schemas.fhir.loading import LOADING, one_each
from schemas.fhir.release import Release
from schemas.fhir.shapes import Kind, Slot
from schemas.fhir.typed import NAMESPACE, Family, struct_name

INT32: Final = range(-(2**31), 2**31)


class Base64(bytes):
    """The bytes of a base64Binary whose text is the canonical one."""

    __slots__ = ()


def canonical_base64(text: str) -> bytes | None:
    """The bytes that a text stands for, when encoding them gives the same text again."""
    try:
        found = binascii.a2b_base64(text)
    except (binascii.Error, ValueError):
        return None
    return found if b64encode(found).decode() == text else None


_SOME: Final = msgspec.Meta(min_length=1)
_NAMES: Final = {
    Kind.STRING: "str",
    Kind.BOOLEAN: "bool",
    Kind.INTEGER: "Int32",
    Kind.DECIMAL: "Raw",
    Kind.BASE64: "Base64",
    Kind.RESOURCE: "Raw",
}


def _annotate(slot: Slot) -> str | None:
    if slot.kind is Kind.SIBLING and slot.repeated:
        return None  # null and {} would look alike
    name = _NAMES.get(slot.kind) or struct_name(slot.type)
    if not slot.repeated:
        return name
    # in a list of strings, protobuf's "" stands for null
    return f"Annotated[list[{'Text' if slot.kind is Kind.STRING else name}], SOME]"


def _hold(_kind: type[Base64], value: object) -> Base64:
    found = canonical_base64(value) if type(value) is str else None
    if found is None:
        raise ValueError("not carried as bytes")
    return Base64(found)


class StrictTypes:
    """Decoders of the resource types of one release, for all codecs of the process."""

    def __init__(self, release: Release) -> None:
        namespace = {
            **NAMESPACE,
            "Annotated": Annotated,
            "Base64": Base64,
            "Int32": Annotated[int, msgspec.Meta(ge=INT32.start, le=INT32.stop - 1)],
            "SOME": _SOME,
            "Text": Annotated[str, _SOME],
        }
        self._family = Family(catalogue(release), "strict", _annotate, namespace, strict=True)
        self._decoders: dict[str, msgspec.json.Decoder[msgspec.Struct]] = {}

    def decoder(self, name: str) -> msgspec.json.Decoder[msgspec.Struct]:
        """A decoder that raises `msgspec.ValidationError` for what protobuf would not carry exactly."""
        decoder = self._decoders.get(name)
        if decoder is None:
            with LOADING:
                struct = self._family.struct(name)
                decoder = msgspec.json.Decoder(struct, dec_hook=_hold)
                self._decoders[name] = decoder
        return decoder


@one_each
def strict_types(release: Release) -> StrictTypes:
    """The one set of strict types of a release."""
    return StrictTypes(release)


__all__ = ["INT32", "Base64", "StrictTypes", "canonical_base64", "strict_types"]
