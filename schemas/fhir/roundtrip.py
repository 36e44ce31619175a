"""Whether documents come back identical from protobuf: what `medmesh schema roundtrip` counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from schemas.errors import MeshError
from schemas.fhir.codec import BodyCodec, FhirCodec
from schemas.fhir.release import Release
from schemas.fhir.text import canonical


class Verdict(Enum):
    """What became of a document."""

    IDENTICAL = "identical"
    DIFFERENT = "different"
    ERROR = "error"


@dataclass(slots=True)
class RoundTrip:
    """Takes documents of one release to protobuf and back, and counts.

    Identical means: the same JSON, numbers compared by their text; white space and the order of keys do not count.
    """

    release: Release
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    as_json: int = 0
    """Documents that travel as JSON, because protobuf cannot carry them exactly."""
    json_bytes: int = 0
    protobuf_bytes: int = 0
    """Of the documents that travel as protobuf: their size before, and after."""
    codec: FhirCodec = field(init=False)

    def __post_init__(self) -> None:
        self.codec = FhirCodec(self.release)

    def take(self, raw: bytes) -> tuple[Verdict, str]:
        """The verdict on one document, and for an error its words, which hold no content."""
        verdict, words = self._take(raw)
        self.verdicts[verdict] += 1
        return verdict, words

    def _take(self, raw: bytes) -> tuple[Verdict, str]:
        try:
            encoded = self.codec.encode(raw)
            back = self.codec.decode(encoded)
        except MeshError as error:
            return Verdict.ERROR, str(error)
        if encoded.codec is BodyCodec.JSON:
            self.as_json += 1
            return Verdict.IDENTICAL, ""
        self.json_bytes += len(raw)
        self.protobuf_bytes += len(encoded.body)
        try:
            identical = canonical(back) == canonical(raw)
        except ValueError as error:
            return Verdict.DIFFERENT, str(error)
        return (Verdict.IDENTICAL, "") if identical else (Verdict.DIFFERENT, "another document")


__all__ = ["RoundTrip", "Verdict"]
