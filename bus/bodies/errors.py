"""Why a body cannot be read, though its content is authentic."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from schemas.errors import MeshError


class BodyReason(StrEnum):
    """Why a body was refused. Stable: counted, logged and shown to operators."""

    UNKNOWN_ENCODING = "unknown_encoding"
    TOO_LARGE = "too_large"
    SIZE_MISMATCH = "size_mismatch"
    """The frame, or the body, has another size than the signed content says."""
    MALFORMED = "malformed"
    """Not one whole zstd frame, or more than one."""
    WRONG_DICTIONARY = "wrong_dictionary"
    """The frame, the encoding and the dictionary's id contradict each other, or it is no dictionary."""
    DICTIONARY_MISSING = "dictionary_missing"


class UnreadableContent(MeshError, ValueError):
    """The content is authentic, but this version of the program cannot read it."""

    code: ClassVar[str] = "unreadable_content"


class BadBody(UnreadableContent):
    """A body that is not what its signed content says. The message never holds content."""

    code: ClassVar[str] = "bad_body"

    def __init__(self, reason: BodyReason, detail: str) -> None:
        super().__init__(f"body refused ({reason.value}): {detail}")
        self.reason = reason


class DictionaryMissing(BadBody):
    """The dictionary is not known here yet: fetch it by its id, `learn` it, decode again."""

    retryable: ClassVar[bool] = True

    def __init__(self, dictionary_id: bytes) -> None:
        super().__init__(
            BodyReason.DICTIONARY_MISSING,
            f"no dictionary {dictionary_id.hex()[:16]} is known here or in the mesh's bucket",
        )
        self.dictionary_id = dictionary_id


__all__ = ["BadBody", "BodyReason", "DictionaryMissing", "UnreadableContent"]
