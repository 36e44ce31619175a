"""What may be said of an exception without saying what it was about: type, code, and where in the program."""

from __future__ import annotations

from types import TracebackType

from schemas.errors import MeshError

_MAX_FRAMES = 12


def where(error: BaseException) -> str:
    """Where it was raised, innermost first: `module:line<module:line`. No values, no source text."""
    places: list[str] = []
    step: TracebackType | None = error.__traceback__
    while step is not None:
        module = step.tb_frame.f_globals.get("__name__", "?")
        places.append(f"{module}:{step.tb_lineno}")
        step = step.tb_next
    return "<".join(reversed(places[-_MAX_FRAMES:]))


def error_code(error: BaseException) -> str:
    """The stable code of our own errors; the type's name for foreign ones."""
    return error.code if isinstance(error, MeshError) else type(error).__name__


def failure_fields(error: BaseException) -> dict[str, str]:
    """The fields of a log event about an exception."""
    return {
        "error_type": type(error).__name__,
        "error_code": error_code(error),
        "where": where(error),
    }


__all__ = ["error_code", "failure_fields", "where"]
