"""Whether what adapters take in fits what the server takes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bus.events.sizes import max_content_bytes
from medmesh.config import Configuration

_BESIDE_BODY_BYTES: Final = 16 * 1024
"""Room for what an event holds besides the message itself: identifiers and codes to find it by."""


def size_findings(configuration: Configuration, max_payload: int) -> Iterator[str]:
    """A sentence for each adapter that is configured to take larger messages than can be stored.

    Raises `ConfigurationError` for a server that takes hardly anything.
    """
    most = max_content_bytes(max_payload) - _BESIDE_BODY_BYTES
    for adapter in configuration.adapters:
        wanted = getattr(adapter.config, "max_message_bytes", 0) if adapter.rights.publish else 0
        if wanted > most:
            yield (
                f"adapter {adapter.config.name}: messages above {most} bytes will be refused, though max_message_bytes "
                f"is {wanted}: the NATS server takes {max_payload} bytes (max_payload), and what is accepted must fit "
                "into a dead letter"
            )


__all__ = ["size_findings"]
