"""What is wrong with a configuration, in words that name the key, what was seen and what is allowed."""

from __future__ import annotations

import difflib
import enum
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from schemas.errors import ConfigurationError

Place = tuple[str | int, ...]
"""Where a value stands: ("adapter", 1, "connect")."""

SECRET_KEYS = frozenset({"password", "passphrase", "token", "secret"})
_LONGEST_VALUE_CHARS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing to change. `key` is the path, `text` says what was seen and what is allowed."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}: {self.text}" if self.key else self.text


class ConfigurationProblems(ConfigurationError):
    """Everything that is wrong with a configuration, together."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in problems]
        if len(lines) == 1:
            super().__init__(f"{source}: {lines[0]}")
        else:
            super().__init__(f"{source}: {len(lines)} problems\n  " + "\n  ".join(lines))


def key_path(place: Place, names: Sequence[str]) -> str:
    """`adapter[1] "his-out".connect`: the path of a key, with the name of the adapter it belongs to."""
    text = ""
    for depth, part in enumerate(place):
        if isinstance(part, int):
            text += f"[{part}]"
            if depth == 1 and place[0] == "adapter" and part < len(names) and names[part]:
                text += f' "{names[part]}"'
        else:
            text += f".{part}" if text else part
    return text


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?` when a known word is close, otherwise an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{close[0]}"?' if close else ""


def unknown_key(word: str, known: Iterable[str]) -> str:
    """Words for a key that nobody knows."""
    listed = sorted(known)
    return f"unknown key{nearest(word, listed) or ';'} known here: {', '.join(listed)}"


def explain(
    error: ValidationError, model: type[BaseModel], place: Place, names: Sequence[str]
) -> list[Problem]:
    """Turn pydantic's findings on `model`, whose table stands at `place`, into problems."""
    problems: dict[str, Problem] = {}
    for detail in error.errors(include_url=False):
        owner, field, known_place = _locate(model, detail["loc"])
        key = key_path((*place, *known_place), names)
        value = detail.get("input")
        if detail["type"] == "extra_forbidden":
            text = unknown_key(str(detail["loc"][-1]), owner.model_fields if owner else ())
        elif detail["type"] == "missing":
            description = field.description if field and field.description else ""
            text = f"is missing. {description}".rstrip(" .") if description else "is missing"
        else:
            text = _wrong_value(detail["type"], detail["msg"], value, field, known_place)
        problems.setdefault(key, Problem(key=key, text=text))
    return list(problems.values())


def _locate(
    model: type[BaseModel], loc: tuple[str | int, ...]
) -> tuple[type[BaseModel] | None, FieldInfo | None, Place]:
    """Follow pydantic's location through the models; what it adds for unions is left out."""
    owner: type[BaseModel] | None = model
    field: FieldInfo | None = None
    place: list[str | int] = []
    inner: type[BaseModel] | None = model
    for i, part in enumerate(loc):
        if isinstance(part, int):
            place.append(part)
        elif inner is not None and (part in inner.model_fields or i == len(loc) - 1):
            owner, field = inner, inner.model_fields.get(part)
            place.append(part)
            inner = model_in(field.annotation) if field is not None else None
    return owner, field, tuple(place)


def model_in(annotation: object) -> type[BaseModel] | None:
    """The pydantic model that an annotation holds (in a union, a tuple…), if any."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in typing.get_args(annotation):
        if (found := model_in(inner)) is not None:
            return found
    return None


def _wrong_value(
    kind: str, message: str, value: object, field: FieldInfo | None, place: Place
) -> str:
    shown = "the value" if _is_secret(place) else _shown(value)
    allowed = _allowed(field) if field is not None else ""
    close = nearest(value, _choices(field)) if isinstance(value, str) and field is not None else ""
    if kind in {"value_error", "assertion_error"}:
        reason = message.partition(", ")[2] or message
        return reason if isinstance(value, dict) else f"{shown}: {reason}"
    words = message[0].lower() + message[1:]
    if allowed:
        return f"{shown} is not allowed{close or ';'} allowed: {allowed}"
    description = f" ({field.description})" if field is not None and field.description else ""
    return f"{shown}: {words}{description}"


def _is_secret(place: Place) -> bool:
    return any(part in SECRET_KEYS for part in place)


def _shown(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST_VALUE_CHARS else text[: _LONGEST_VALUE_CHARS - 1] + "…"


def _choices(field: FieldInfo) -> list[str]:
    return [str(choice) for choice in _choices_of(field.annotation)]


def _choices_of(annotation: object) -> list[object]:
    if typing.get_origin(annotation) is typing.Literal:
        return list(typing.get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return [member.value for member in annotation]
    return [choice for inner in typing.get_args(annotation) for choice in _choices_of(inner)]


def _allowed(field: FieldInfo) -> str:
    """The allowed range of a field from its constraints, or an empty string."""
    if choices := _choices(field):
        return ", ".join(f'"{choice}"' for choice in choices)
    low = high = pattern = None
    for constraint in _constraints(field.annotation, field.metadata):
        low = getattr(constraint, "ge", None) if low is None else low
        low = getattr(constraint, "gt", None) if low is None else low
        high = getattr(constraint, "le", None) if high is None else high
        high = getattr(constraint, "lt", None) if high is None else high
        pattern = getattr(constraint, "pattern", None) if pattern is None else pattern
    if low is not None and high is not None:
        return f"{low} to {high}"
    if low is not None:
        return f"{low} or more"
    if high is not None:
        return f"{high} or less"
    return f"text that matches {pattern}" if pattern else ""


def _constraints(annotation: object, metadata: Sequence[object]) -> list[object]:
    found = list(metadata)
    for inner in typing.get_args(annotation):
        if isinstance(inner, FieldInfo):
            found.extend(inner.metadata)
        elif typing.get_origin(inner) is typing.Annotated:
            found.extend(_constraints(inner, typing.get_args(inner)[1:]))
    return found


__all__ = [
    "SECRET_KEYS",
    "ConfigurationProblems",
    "Place",
    "Problem",
    "explain",
    "key_path",
    "model_in",
    "nearest",
    "unknown_key",
]
