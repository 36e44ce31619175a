"""The careful way in: a parsed document is fitted to its message key by key, and nothing of it gets lost.

What the schema has no place for goes into `unknown_json` of the message that it lies in: unknown elements, wrong types,
numbers out of range, base64 with line breaks, empty lists.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, Literal, TypeAlias

from schemas.fhir.catalogue import Catalogue
from schemas.fhir.loading import LOADING
from schemas.fhir.shapes import UNKNOWN_KEY, Kind, Slot
from schemas.fhir.strict import INT32, canonical_base64
from schemas.fhir.text import Json, Number, write


class _Misfit(Enum):
    MISFIT = 0


MISFIT: Final = _Misfit.MISFIT
Fitted: TypeAlias = "dict[str, object]"
Fit: TypeAlias = "Callable[[Json], object | Literal[_Misfit.MISFIT]]"
Plan: TypeAlias = "dict[str, Fit]"


def _text(value: Json) -> object:
    return value if type(value) is str else MISFIT


def _boolean(value: Json) -> object:
    return value if type(value) is bool else MISFIT


def _integer(value: Json) -> object:
    return value if type(value) is int and value in INT32 else MISFIT


def _decimal(value: Json) -> object:
    return str(value) if type(value) in (int, Number) else MISFIT


def _base64(value: Json) -> object:
    found = canonical_base64(value) if type(value) is str else None
    return MISFIT if found is None else found


def _text_or_null(value: Json) -> object:
    """In a list, protobuf's "" stands for null."""
    if value is None:
        return ""
    return value if type(value) is str and value else MISFIT


def _each(fit: Fit) -> Fit:
    """`fit` over a list. Protobuf cannot tell an empty list from none."""

    def fit_all(value: Json) -> object:
        if type(value) is not list or not value:
            return MISFIT
        fitted = [fit(each) for each in value]
        return MISFIT if MISFIT in fitted else fitted

    return fit_all


_FITS: Final[dict[Kind, Fit]] = {
    Kind.STRING: _text,
    Kind.BOOLEAN: _boolean,
    Kind.INTEGER: _integer,
    Kind.DECIMAL: _decimal,
    Kind.BASE64: _base64,
}


class CarefulFitter:
    """Fits documents to the codec's messages. `misfits` counts the messages that needed `unknown_json`."""

    def __init__(self, catalogue: Catalogue, box: Callable[[Json], dict[str, object]]) -> None:
        self._catalogue = catalogue
        self._box = box
        self._plans: dict[str, Plan] = {}
        self.misfits = 0

    def fit(self, name: str, document: dict[str, Json]) -> Fitted:
        """Keyword arguments for the codec's message of a type; `document` is without its resourceType."""
        with LOADING:
            plan = self._plan(name)
        return self._fit(plan, document)

    def _fit(self, plan: Plan, document: dict[str, Json]) -> Fitted:
        fitted: Fitted = {}
        rest: dict[str, Json] = {}
        for key, value in document.items():
            fit = plan.get(key)
            found = MISFIT if fit is None else fit(value)
            if found is MISFIT:
                rest[key] = value
            else:
                fitted[key] = found
        if rest:
            self.misfits += 1
            fitted[UNKNOWN_KEY] = write(rest)
        return fitted

    def _plan(self, name: str) -> Plan:
        plan = self._plans.get(name)
        if plan is None:
            plan = self._plans[name] = {}  # known before it is filled: types refer to themselves
            for slot in self._catalogue.shape(name):
                plan[slot.key] = self._fit_of(slot)
        return plan

    def _fit_of(self, slot: Slot) -> Fit:
        if slot.kind is Kind.STRING and slot.repeated:
            return _each(_text_or_null)
        if slot.kind is Kind.SIBLING and slot.repeated:
            return _each(self._sibling_or_null(self._plan(slot.type)))
        if slot.kind is Kind.RESOURCE:
            fit: Fit = self._box
        elif slot.type:
            fit = self._message(self._plan(slot.type))
        else:
            fit = _FITS[slot.kind]
        return _each(fit) if slot.repeated else fit

    def _message(self, plan: Plan) -> Fit:
        def fit(value: Json) -> object:
            return self._fit(plan, value) if type(value) is dict else MISFIT

        return fit

    def _sibling_or_null(self, plan: Plan) -> Fit:
        """In a list of siblings, protobuf's empty message stands for null."""

        def fit(value: Json) -> object:
            if value is None:
                return {}
            return self._fit(plan, value) if type(value) is dict and value else MISFIT

        return fit


__all__ = ["CarefulFitter"]
