"""Secrets from the environment or a file, compared in constant time, never shown."""

from __future__ import annotations

import hmac
import os
from pathlib import Path
from typing import Final

from adapters.fhir.peers import Secret
from schemas.errors import ConfigurationError

_MAX_BYTES: Final = 64 * 1024


def read_secrets(place: Secret, *, name: str) -> tuple[str, ...]:
    """The secrets of a place, one a line: several while an old one is being replaced. Raises `ConfigurationError`."""
    if place.secret_env:
        text, where = os.environ.get(place.secret_env, ""), f"variable {place.secret_env}"
    else:
        text, where = _read(place.secret_file or Path(), name), f"file {place.secret_file}"
    secrets = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not secrets:
        raise ConfigurationError(f"{name}: {where} holds no secret")
    if not all(one.isascii() and one.isprintable() for one in secrets):
        raise ConfigurationError(f"{name}: the secret in {where} is not printable ASCII")
    return secrets


def _read(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise ConfigurationError(f"{name}: secret_file {path}: {error.strerror}") from error


def is_one_of(shown: str, secrets: tuple[str, ...]) -> bool:
    """Whether what was shown is a secret; the time taken does not depend on how much of it is right."""
    seen = shown.encode("utf-8", "surrogateescape")
    found = [hmac.compare_digest(seen, secret.encode()) for secret in secrets]
    return any(found)


__all__ = ["is_one_of", "read_secrets"]
