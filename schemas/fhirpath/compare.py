"""Equality, equivalence and order of items (FHIRPath 2.0 §6.1 and §6.2), and keys by which equal items are found."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal, DecimalException
from typing import Final

from schemas.fhirpath import temporal
from schemas.fhirpath.environment import Environment
from schemas.fhirpath.errors import Failure, PathFailed
from schemas.fhirpath.quantity import Quantity, canonical_key, common, quantity_of
from schemas.fhirpath.temporal import Temporal, instant_key
from schemas.fhirpath.types import QUANTITIES
from schemas.fhirpath.values import ARITHMETIC, Element, Items, number

MAX_DATA_DEPTH: Final = 100
_NUMBERS: Final = frozenset((int, Decimal))

_PARSERS: Final[dict[str, Callable[[str], Temporal | None]]] = {
    "date": temporal.parse_date,
    "dateTime": temporal.parse_date_time,
    "instant": temporal.parse_date_time,
    "time": temporal.parse_time,
    "Date": temporal.parse_date_time,
    "DateTime": temporal.parse_date_time,
    "Time": temporal.parse_time,
}


def system(item: object) -> object:
    """The System value of an item: `str`, `bool`, number, `Temporal`, `Quantity` or `dict`; None without a value."""
    kind = type(item)
    if kind is str or kind is bool or kind is dict:
        return item
    if kind is Element:
        return _of_element(item)  # type: ignore[arg-type]  # narrowed by `kind`, which is cheaper than isinstance
    if kind is Temporal or kind is Quantity:
        return item
    return number(item)


def _of_element(element: Element) -> object:
    value = element.value
    if element.type is not None:
        if type(value) is str and element.type in _PARSERS:
            return _PARSERS[element.type](value) or value
        if isinstance(value, dict) and element.type in QUANTITIES:
            return quantity_of(value) or value
    return None if value is None else system(value)


def equal(left: object, right: object, env: Environment) -> bool | None:
    """`=` of two items; None when a missing precision, zone or unit leaves it open."""
    one, other = system(left), system(right)
    if type(one) is str and type(other) is str:
        return one == other
    if type(one) is dict and type(other) is dict:
        return key(one, env) == key(other, env)
    found = _comparable(one, other)
    if found is None:
        return False
    order = _order(*found)
    return None if order is None else order == 0


def compare(left: object, right: object, where: str) -> int | None:
    """Less than, equal or greater than 0; None when open. Raises `PathFailed` for types without a common order."""
    one, other = system(left), system(right)
    if type(one) in _NUMBERS and type(other) in _NUMBERS:
        return _sign(one, other)
    if one is None or other is None:
        return None
    found = _comparable(one, other)
    if found is None or isinstance(found[0], bool):
        if (isinstance(one, Temporal) and type(other) is str) or (
            isinstance(other, Temporal) and type(one) is str
        ):
            return None
        raise PathFailed(Failure.TYPE, where)
    if type(found[0]) is str and type(found[1]) is str:
        found = _dates(found[0], found[1])
    return _order(*found)


def equivalent(left: object, right: object, env: Environment) -> bool:
    """`~` of two items."""
    one, other = system(left), system(right)
    if isinstance(one, Quantity) or isinstance(other, Quantity):
        return _equivalent_quantities(one, other)
    found = _comparable(one, other)
    if found is None:
        return (
            type(one) is dict
            and type(other) is dict
            and _loose_key(one, env) == _loose_key(other, env)
        )
    one, other = found
    if isinstance(one, int | Decimal) and isinstance(other, int | Decimal):
        return _about_equal(Decimal(one), Decimal(other))
    if type(one) is str and type(other) is str:
        env.spend((len(one) + len(other)) // 64)
        return _loose_text(one) == _loose_text(other)
    return _order(one, other) == 0


def _comparable(one: object, other: object) -> tuple[object, object] | None:
    """Both values as one type, or None when they have none in common."""
    if isinstance(one, bool) or isinstance(other, bool):
        return (one, other) if type(one) is type(other) else None
    if isinstance(one, int | Decimal) and isinstance(other, int | Decimal):
        return one, other
    if isinstance(one, Quantity) or isinstance(other, Quantity):
        first, second = _as_quantity(one), _as_quantity(other)
        return None if first is None or second is None else (first, second)
    if isinstance(one, Temporal) or isinstance(other, Temporal):
        return _as_temporals(one, other)
    return (one, other) if type(one) is str and type(other) is str else None


def _as_quantity(value: object) -> Quantity | None:
    if isinstance(value, Quantity):
        return value
    if isinstance(value, dict):
        return quantity_of(value)
    if isinstance(value, int | Decimal):
        return Quantity(Decimal(value), "1")
    return None


def _as_temporals(one: object, other: object) -> tuple[Temporal, Temporal] | None:
    if isinstance(one, Temporal) and type(other) is str:
        other = _PARSERS[one.kind](other)
    elif isinstance(other, Temporal) and type(one) is str:
        one = _PARSERS[other.kind](one)
    if not isinstance(one, Temporal) or not isinstance(other, Temporal):
        return None
    return (one, other) if (one.kind == "Time") == (other.kind == "Time") else None


def _dates(one: object, other: object) -> tuple[object, object]:
    """Two texts as dates if both are: elements of an unknown type may well be dates."""
    if "-" in str(one)[:6] or "-" in str(other)[:6]:
        first, second = temporal.parse_date_time(str(one)), temporal.parse_date_time(str(other))
        if first is not None and second is not None:
            return first, second
    return one, other


def _order(one: object, other: object) -> int | None:
    if isinstance(one, Temporal) and isinstance(other, Temporal):
        return temporal.order(one, other)
    if isinstance(one, Quantity) and isinstance(other, Quantity):
        values = common(one, other)
        return None if values is None else _sign(*values)
    return _sign(one, other)


def _sign(one: object, other: object) -> int:
    return int(one > other) - int(one < other)  # type: ignore[operator]  # both are str, bool or numbers


def _equivalent_quantities(one: object, other: object) -> bool:
    first, second = _as_quantity(one), _as_quantity(other)
    if first is None or second is None:
        return False
    values = common(first, second, loosely=True)
    return values is not None and _about_equal(*values)


def _about_equal(one: Decimal, other: Decimal) -> bool:
    """Equal when rounded to the digits of the less precise one."""
    try:
        places = min(_places(one), _places(other))
        step = Decimal(1).scaleb(-places)
        return one.quantize(step, ROUND_HALF_UP, ARITHMETIC) == other.quantize(
            step, ROUND_HALF_UP, ARITHMETIC
        )
    except DecimalException:
        return one == other


def _places(value: Decimal) -> int:
    exponent = ARITHMETIC.normalize(value).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _loose_text(text: str) -> str:
    return " ".join(text.lower().split())


def key(item: object, env: Environment) -> object:
    """A hashable value that is the same for items that are equal. Raises `PathFailed` for data nested too deep."""
    return _key(system(item), 0, env, loose=False)


def _loose_key(item: object, env: Environment) -> object:
    """A hashable value that is the same for items that are equivalent (decimals: exactly)."""
    return _key(system(item), 0, env, loose=True)


def _key(value: object, depth: int, env: Environment, *, loose: bool) -> object:
    if type(value) is str:
        return _loose_text(value) if loose else value
    if isinstance(value, bool) or value is None:
        return (value,)
    if isinstance(value, dict | list):
        return _tree_key(value, depth, env, loose=loose)
    if isinstance(value, Temporal):
        return instant_key(value)
    if isinstance(value, Quantity):
        return canonical_key(value)
    return number(value)


def _tree_key(
    value: dict[str, object] | list[object], depth: int, env: Environment, *, loose: bool
) -> object:
    env.spend(len(value))
    if depth > MAX_DATA_DEPTH:
        raise PathFailed(Failure.DEPTH, "equality")
    if isinstance(value, dict):
        return frozenset(
            (name, _key(child, depth + 1, env, loose=loose)) for name, child in value.items()
        )
    keys = [_key(child, depth + 1, env, loose=loose) for child in value]
    return frozenset(keys) if loose else tuple(keys)


def equal_collections(left: Items, right: Items, env: Environment) -> bool | None:
    """`=` of two collections: the same items in the same order."""
    if len(left) != len(right):
        return False
    env.spend(len(left))
    open_ended = False
    for one, other in zip(left, right, strict=True):
        found = equal(one, other, env)
        if found is False:
            return False
        open_ended = open_ended or found is None
    return None if open_ended else True


def equivalent_collections(left: Items, right: Items, env: Environment) -> bool:
    """`~` of two collections: the same items in any order."""
    if len(left) != len(right):
        return False
    remaining = list(right)
    for one in left:
        env.spend(len(remaining))
        found = next((i for i, other in enumerate(remaining) if equivalent(one, other, env)), None)
        if found is None:
            return False
        del remaining[found]
    return True


__all__ = [
    "compare",
    "equal",
    "equal_collections",
    "equivalent_collections",
    "key",
    "system",
]
