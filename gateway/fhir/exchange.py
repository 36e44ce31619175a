"""One request and its answer, whatever carried them; and how a request is refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from adapters.fhir.codec.outcome import operation_outcome
from gateway.access.protocol import Client

FHIR_JSON: Final = "application/fhir+json"
Pairs = tuple[tuple[str, str], ...]
"""Names and values of a query or a form, decoded, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FhirRequest:
    """One request below `/fhir/<release>`."""

    method: str
    release: str
    path: tuple[str, ...]
    """Steps behind the release: ("Patient", "1"); decoded."""
    base: str
    """Address of the release as the client sees it, without a final slash."""
    client: Client
    query: Pairs = field(default=(), repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By lower-case name."""
    body: bytes = field(default=b"", repr=False)
    timeout_s: float = 30.0
    remote: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FhirResponse:
    """One answer; an error always holds an OperationOutcome."""

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: tuple[tuple[str, str], ...] = ()


class Refusal(Exception):
    """A request is not done. `code` is of FHIR's issue-type; `text` is ours and holds no content."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        text: str,
        *,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text
        self.headers = headers

    def response(self) -> FhirResponse:
        """As it is answered."""
        return FhirResponse(
            status=self.status,
            body=operation_outcome(self.code, self.text),
            headers=self.headers,
        )


__all__ = ["FHIR_JSON", "FhirRequest", "FhirResponse", "Pairs", "Refusal"]
