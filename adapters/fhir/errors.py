"""What FHIR servers answer, as errors: each says whether trying again helps, and carries codes, never words."""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar

from adapters.fhir.codec.errors import FhirError
from adapters.fhir.codec.outcome import OutcomeIssue
from bus.events.protocol import Rejected
from schemas.errors import Unavailable


class NotSent(Unavailable):
    """The server could not be reached: it has seen nothing of the request."""


class NoAnswer(Unavailable):
    """The request may have been worked, but no whole answer came."""


class Busy(Unavailable):
    """The server asks to come again later: 408, 425, 429 or 503, or another 5xx."""

    def __init__(self, status: int, retry_after_s: float | None) -> None:
        super().__init__(f"the server answered {describe(status)}")
        self.status = status
        self.retry_after_s = retry_after_s


class CredentialsRefused(Unavailable):
    """401 or 407: the link's credentials, not this resource, are at fault; mended by an operator."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the server answered {describe(status)}: look at [adapter.auth]")
        self.status = status


class Redirected(Unavailable):
    """3xx: the base address is not right. Patient data goes where the configuration says, and nowhere else."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the server answered {describe(status)}: base is not its own address")
        self.status = status


class StatusError(FhirError):
    """The server refused a request."""

    code: ClassVar[str] = "fhir_refused"

    def __init__(self, status: int, issues: tuple[OutcomeIssue, ...], answer: bytes) -> None:
        super().__init__(f"the server answered {describe(status)}{words(issues)}")
        self.status = status
        self.issues = issues
        self.answer = answer
        """The answer as it came: protected data."""


class NotFound(StatusError):
    """404: there is no such resource, or no such type."""

    code: ClassVar[str] = "fhir_not_found"


class Gone(StatusError):
    """410: the resource was deleted."""

    code: ClassVar[str] = "fhir_gone"


class Conflict(StatusError):
    """409 or 412: another version, another writer, several matches. Trying again may help."""

    code: ClassVar[str] = "fhir_conflict"
    retryable: ClassVar[bool] = True


class ServerFailed(StatusError):
    """500, where the configuration makes it an attempt that counts; a transient error of messaging."""

    code: ClassVar[str] = "fhir_server_failed"
    retryable: ClassVar[bool] = True


class RefusedByServer(Rejected):
    """The server will not take this resource: a dead letter with the codes of its OperationOutcome."""

    code: ClassVar[str] = "fhir_refused"

    def __init__(self, text: str, answer: bytes = b"") -> None:
        super().__init__(text)
        self.answer = answer


class OutcomeUnknown(Rejected):
    """No answer came to content that may not be sent twice: an operator must look at the server."""

    code: ClassVar[str] = "fhir_outcome_unknown"


class InvalidResource(Rejected):
    """Validation found faults."""

    code: ClassVar[str] = "fhir_invalid"


class AnswerTooLarge(FhirError, ValueError):
    """An answer is longer than `max_answer_bytes`."""

    code: ClassVar[str] = "fhir_answer_too_large"

    def __init__(self, text: str, *, status: int) -> None:
        super().__init__(text)
        self.status = status


class UnreadableAnswer(FhirError, ValueError):
    """An answer is not what the interaction gives."""

    code: ClassVar[str] = "fhir_unreadable_answer"


class ForeignLink(FhirError, ValueError):
    """A page's `next` leads away from the server: following it would carry credentials elsewhere."""

    code: ClassVar[str] = "fhir_foreign_link"


class TooManyPages(FhirError, ValueError):
    """A search has more pages than the caller allowed."""

    code: ClassVar[str] = "fhir_too_many_pages"


def describe(status: int) -> str:
    """`429 Too Many Requests`; the number alone for one that HTTP does not know."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def words(issues: tuple[OutcomeIssue, ...]) -> str:
    """`: error/invalid, error/required`, for operators."""
    return f": {', '.join(map(str, issues))}" if issues else ""


__all__ = [
    "AnswerTooLarge",
    "Busy",
    "Conflict",
    "CredentialsRefused",
    "ForeignLink",
    "Gone",
    "InvalidResource",
    "NoAnswer",
    "NotFound",
    "NotSent",
    "OutcomeUnknown",
    "Redirected",
    "RefusedByServer",
    "ServerFailed",
    "StatusError",
    "TooManyPages",
    "UnreadableAnswer",
    "describe",
    "words",
]
