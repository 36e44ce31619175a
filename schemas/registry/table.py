"""The bindings of one process, and what each subject must fit: one look into a dictionary for each message."""

from __future__ import annotations

from typing import Final

from schemas.registry.checks import Fits
from schemas.registry.patterns import strongest

_MAX_SUBJECTS: Final = 16_384
_Held = tuple[Fits, bytes]


class BindingTable:
    """Pattern to compiled check. Not for several threads."""

    def __init__(self) -> None:
        self._checks: dict[str, _Held] = {}
        self._subjects: dict[str, _Held | None] = {}

    def put(self, pattern: str, check: Fits | None, schema: str = "") -> None:
        """Take a binding in, or exchange it; `schema` is the hash that it names, in hexadecimal.

        Without a check it holds, and takes anything.
        """
        self._checks[pattern] = (check or _anything, bytes.fromhex(schema))
        self._subjects.clear()

    def drop(self, pattern: str) -> None:
        """Forget a binding."""
        if self._checks.pop(pattern, None) is not None:
            self._subjects.clear()

    def __len__(self) -> int:
        """How many bindings there are."""
        return len(self._checks)

    def check(self, subject: str, content_type: str, body: bytes) -> bytes:
        """Raise `SchemaRefused` when the content does not fit the binding that holds for the subject, if one does.

        Returns the hash of the schema that it follows; empty where none is bound.
        """
        if not self._checks:
            return b""
        try:
            held = self._subjects[subject]
        except KeyError:
            held = self._learn(subject)
        if held is None:
            return b""
        held[0](content_type, body)
        return held[1]

    def _learn(self, subject: str) -> _Held | None:
        if len(self._subjects) >= _MAX_SUBJECTS:
            self._subjects.clear()
        pattern = strongest(self._checks, subject)
        found = self._subjects[subject] = None if pattern is None else self._checks[pattern]
        return found


def _anything(content_type: str, body: bytes) -> None:
    """What nothing is said of."""


__all__ = ["BindingTable"]
