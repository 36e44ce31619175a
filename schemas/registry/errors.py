"""What can be wrong with a schema, a binding, or a message that does not fit one. Never content in a message."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar

from schemas.errors import MeshError


class SchemaError(MeshError, ValueError):
    """A schema or a binding is not well formed, too large, or not what its hash says."""

    code: ClassVar[str] = "schema"


class BindingConflict(SchemaError):
    """Another binding of the same rank covers some of the same subjects: nobody could say which one holds."""

    code: ClassVar[str] = "binding_conflict"


class StaleBinding(SchemaError):
    """The binding was changed by somebody else since it was read: nothing was written."""

    code: ClassVar[str] = "stale_binding"


class IncompatibleSchema(SchemaError):
    """The new schema breaks readers or writers of former ones in a way that the binding's mode does not allow."""

    code: ClassVar[str] = "incompatible_schema"

    def __init__(self, pattern: str, mode: str, findings: Sequence[str]) -> None:
        shown = "; ".join(findings[:_SHOWN])
        more = f"; and {len(findings) - _SHOWN} more" if len(findings) > _SHOWN else ""
        super().__init__(
            f"{pattern} is bound with compatibility {mode!r}, which this breaks: {shown}{more}"
        )
        self.findings = tuple(findings)


_SHOWN = 8


class Misfit(StrEnum):
    """Why a message does not fit its binding. Stable: counted and shown to operators."""

    CONTENT_TYPE = "content_type"
    MESSAGE_TYPE = "message_type"
    RESOURCE_TYPE = "resource_type"
    UNREADABLE = "unreadable"
    UNKNOWN_FIELDS = "unknown_fields"


class SchemaRefused(MeshError, ValueError):
    """The content does not fit what its subject is bound to: it was not published, and sending it again will not help.

    The message names the binding, what it takes and what was seen; never content.
    """

    code: ClassVar[str] = "schema_refused"

    def __init__(self, *, pattern: str, misfit: Misfit, expected: str, seen: str) -> None:
        super().__init__(
            f"subjects {pattern} are bound to {expected}; this is {seen} ({misfit.value}). "
            "`medmesh schema show` tells what is bound"
        )
        self.pattern = pattern
        self.misfit = misfit
        self.expected = expected
        self.seen = seen


__all__ = [
    "BindingConflict",
    "IncompatibleSchema",
    "Misfit",
    "SchemaError",
    "SchemaRefused",
    "StaleBinding",
]
