"""A search as it is asked: conditions apart from what says how the answer shall look. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from adapters.fhir.codec.partial import is_resource_type
from adapters.fhir.store.conditions import UnknownParameter
from adapters.fhir.store.refusals import Issue, Refusal, invalid
from schemas.fhir.searching import Kind, Parameter, Parameters

MAX_PARAMETERS: Final = 64
"""Of one search."""
MAX_SORTS: Final = 4
MAX_INCLUDES: Final = 20
MAX_ELEMENTS: Final = 100
_UNSORTABLE: Final = frozenset({Kind.COMPOSITE})
_STEPS: Final = 3


class Summary(StrEnum):
    """How much of each resource is shown (FHIR R4 §3.1.1.5.8)."""

    FALSE = "false"
    TRUE = "true"
    TEXT = "text"
    DATA = "data"
    COUNT = "count"


@dataclass(frozen=True, slots=True)
class Sort:
    """One sort key; `parameter` is None for `_id` and `_lastUpdated`."""

    code: str
    is_descending: bool
    parameter: Parameter | None


@dataclass(frozen=True, slots=True)
class Include:
    """`_include` or `_revinclude`."""

    source: str
    """The type that holds the reference."""
    code: str
    """The reference parameter; `*` for each."""
    target: str
    """The type that is wanted; empty for any."""
    is_reverse: bool
    is_iterated: bool


@dataclass(slots=True)
class Question:
    """What is searched for, and how it is shown."""

    resource_type: str
    types: tuple[str, ...] = ()
    """Of a search over several types: `_type`."""
    conditions: list[tuple[str, str]] = field(default_factory=list)
    count: int = 0
    sorts: list[Sort] = field(default_factory=list)
    includes: list[Include] = field(default_factory=list)
    summary: Summary = Summary.FALSE
    elements: tuple[str, ...] = ()
    has_total: bool = True
    used: list[tuple[str, str]] = field(default_factory=list)
    """The parameters that were understood, for the link to itself."""
    warnings: list[Issue] = field(default_factory=list)


def read_question(
    resource_type: str,
    pairs: Iterable[tuple[str, str]],
    parameters: Parameters,
    *,
    is_strict: bool,
    usual_count: int,
    max_count: int,
) -> Question:
    """Sort the parameters of a search. Unknown ones are warnings, or refused with `is_strict`. Raises `Refusal`."""
    several = list(pairs)
    if len(several) > MAX_PARAMETERS:
        raise Refusal(400, "too-costly", f"a search has at most {MAX_PARAMETERS} parameters")
    question = Question(resource_type, count=usual_count)
    for name, value in several:
        try:
            _read(question, name, value, parameters, max_count)
        except UnknownParameter as unknown:
            if is_strict:
                raise
            question.warnings.append(ignored(unknown))
            continue
        question.used.append((name, value))
    if question.count == 0:
        question.summary = Summary.COUNT
    return question


def ignored(unknown: UnknownParameter) -> Issue:
    """The warning for a parameter that was left out."""
    one = unknown.issues[0]
    return Issue(
        code="not-supported",
        severity="warning",
        text="the parameter is not known here and was left out",
        expression=one.expression,
    )


def _read(
    question: Question, name: str, value: str, parameters: Parameters, max_count: int
) -> None:
    match name:
        case "_count":
            question.count = min(_number(value), max_count)
        case "_sort":
            question.sorts = _sorts(question.resource_type, value, parameters)
        case "_summary":
            question.summary = _summary(value)
        case "_elements":
            question.elements = tuple(value.split(",")[:MAX_ELEMENTS])
        case "_total":
            if value not in ("none", "estimate", "accurate"):
                raise invalid(
                    "_total is none, estimate or accurate", expression="http._total", code="value"
                )
            question.has_total = value != "none"
        case "_type" if not question.resource_type:
            question.types = _types(value)
        case _ if name.partition(":")[0] in ("_include", "_revinclude"):
            _add_include(question, name, value, parameters)
        case _:
            _check_known(question, name, parameters)
            question.conditions.append((name, value))


def _check_known(question: Question, name: str, parameters: Parameters) -> None:
    code = name.partition(".")[0].partition(":")[0]
    if code in ("_id", "_lastUpdated", "_has"):
        return
    if code not in parameters.of(question.resource_type or "Resource"):
        raise UnknownParameter(code)


def _number(value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        raise invalid("_count is a whole number", expression="http._count", code="value")
    return int(value)


def _summary(value: str) -> Summary:
    try:
        return Summary(value)
    except ValueError:
        allowed = ", ".join(Summary)
        raise invalid(
            f"_summary is one of {allowed}", expression="http._summary", code="value"
        ) from None


def _types(value: str) -> tuple[str, ...]:
    types = tuple(dict.fromkeys(value.split(",")))
    if len(types) > MAX_PARAMETERS or not all(map(is_resource_type, types)):
        raise invalid("_type is a list of resource types", expression="http._type", code="value")
    return types


def _sorts(resource_type: str, value: str, parameters: Parameters) -> list[Sort]:
    found = []
    for part in value.split(","):
        code, is_descending = part.removeprefix("-"), part.startswith("-")
        if code in ("_id", "_lastUpdated"):
            found.append(Sort(code, is_descending, None))
            continue
        parameter = parameters.of(resource_type or "Resource").get(code)
        if parameter is None:
            raise UnknownParameter("_sort")
        if parameter.kind in _UNSORTABLE:
            raise Refusal(
                400, "not-supported", "it cannot be sorted by that", expression="http._sort"
            )
        found.append(Sort(code, is_descending, parameter))
    if len(found) > MAX_SORTS:
        raise Refusal(
            400, "too-costly", f"_sort has at most {MAX_SORTS} keys", expression="http._sort"
        )
    return found


def _add_include(question: Question, name: str, value: str, parameters: Parameters) -> None:
    word, _, modifier = name.partition(":")
    if modifier not in ("", "iterate", "recurse"):
        raise Refusal(
            400, "not-supported", "the modifier is not supported", expression=f"http.{word}"
        )
    if len(question.includes) >= MAX_INCLUDES:
        raise Refusal(400, "too-costly", f"a search has at most {MAX_INCLUDES} includes")
    parts: Sequence[str] = value.split(":")
    if value == "*":
        parts = (question.resource_type, "*") if word == "_include" else ()
    if not 2 <= len(parts) <= _STEPS or not is_resource_type(parts[0]):
        raise invalid(
            f"{word} is written Type:parameter or Type:parameter:Target",
            expression=f"http.{word}",
            code="value",
        )
    if parts[1] != "*":
        parameter = parameters.of(parts[0]).get(parts[1])
        if parameter is None or parameter.kind is not Kind.REFERENCE:
            raise UnknownParameter(word)
    question.includes.append(
        Include(
            source=parts[0],
            code=parts[1],
            target=parts[2] if len(parts) == _STEPS else "",
            is_reverse=word == "_revinclude",
            is_iterated=bool(modifier),
        )
    )


__all__ = ["Include", "Question", "Sort", "Summary", "ignored", "read_question"]
