"""The one tree of errors. A subclass sets a stable wire `code` and says whether trying again can help."""

from __future__ import annotations

from typing import ClassVar


class MeshError(Exception):
    """Root of every error that medmesh raises on purpose.

    `code` is stable and goes on the wire; `retryable` says whether the same call can succeed later.
    The message says what was seen, what was allowed and which setting changes it. It never holds patient data.
    """

    code: ClassVar[str] = "mesh_error"
    retryable: ClassVar[bool] = False


class ConfigurationError(MeshError, ValueError):
    """A setting is missing, unknown or out of range. The message starts with the key's path."""

    code = "configuration"


class SubjectError(MeshError, ValueError):
    """A subject or subject pattern breaks the grammar of DESIGN section 3."""

    code = "subject"


class DeadlineExceeded(MeshError, TimeoutError):
    """The deadline of a call passed before its answer came."""

    code = "deadline_exceeded"
    retryable = True


class PermissionRefused(MeshError, PermissionError):
    """The policy, the server or a certificate does not allow the operation."""

    code = "permission_refused"


class ResourceExhausted(MeshError):
    """A bound was reached (a stream's limit, a full disk, a full queue): refused, not lost."""

    code = "resource_exhausted"
    retryable = True


class Unavailable(MeshError, ConnectionError):
    """The other side is not there at the moment."""

    code = "unavailable"
    retryable = True


class Closed(MeshError):
    """The object was stopped; no further calls are taken."""

    code = "closed"


__all__ = [
    "Closed",
    "ConfigurationError",
    "DeadlineExceeded",
    "MeshError",
    "PermissionRefused",
    "ResourceExhausted",
    "SubjectError",
    "Unavailable",
]
