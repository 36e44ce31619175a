"""What flows through a path: plain JSON values, elements with a type or extensions, and the System types.

An item is one of: a `dict` (a complex element whose type nobody asked for), a plain `str`, `bool` or number, an
`Element` (a value with its FHIR type or the extensions of a primitive), a `Temporal` or a `Quantity`.
"""

from __future__ import annotations

from decimal import Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from typing import Final, TypeAlias

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | Decimal | bool | None"
Number: TypeAlias = int | Decimal
Items: TypeAlias = list[object]
"""A collection. Never changed once it was returned."""

ARITHMETIC: Final = Context(
    prec=34, Emax=6_000, Emin=-6_000, traps=[InvalidOperation, Overflow, DivisionByZero]
)
"""Decimals of FHIRPath have at least 28 digits; no operation costs more than these bounds allow."""
_LONGEST_NUMBER: Final = 128


class Element:
    """A value found in a resource, with what its JSON text says beside it."""

    __slots__ = ("extra", "type", "value")

    def __init__(
        self, value: object, type_name: str | None, extra: dict[str, object] | None = None
    ) -> None:
        self.value = value
        """The JSON value; None when the element has only extensions."""
        self.type = type_name
        """FHIR type, or None when nothing tells it."""
        self.extra = extra
        """The `_name` part of a primitive: its id and extensions."""


def plain(item: object) -> object:
    """The JSON or System value of an item."""
    return item.value if type(item) is Element else item


def number(value: object) -> Number | None:
    """The exact number that a JSON value stands for, or None.

    The one place that knows how numbers come: `int`, `Decimal`, `float` by its shortest text, and subclasses of `str`
    as the FHIR codec keeps number text. Not a number: `bool`, NaN, infinities, texts that are plain `str`.
    """
    kind = type(value)
    if kind is bool or kind is str:
        return None
    if kind is float:
        return _decimal(repr(value))
    if isinstance(value, int):
        return value
    if isinstance(value, Decimal):
        return value if value.is_finite() else None
    if isinstance(value, float):
        return _decimal(repr(value))
    if isinstance(value, str):
        text = str(value)
        return int(text) if len(text) < 19 and text.lstrip("-").isdecimal() else _decimal(text)
    return None


def _decimal(text: str) -> Decimal | None:
    if len(text) > _LONGEST_NUMBER:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def to_json(item: object) -> Json:
    """The JSON value that an item is given out as."""
    value = plain(item)
    if value is None or isinstance(value, str | int | float | Decimal):
        return value
    if isinstance(value, dict | list):
        return value
    given = getattr(value, "json", None)
    return given() if callable(given) else None


__all__ = ["ARITHMETIC", "Element", "Items", "Json", "Number", "number", "plain", "to_json"]
