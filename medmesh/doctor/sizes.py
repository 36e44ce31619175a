"""Check of sizes: what the server takes, against what adapters are configured to take in."""

from __future__ import annotations

from bus.events.sizes import max_content_bytes
from medmesh.config import Configuration
from medmesh.doctor.finding import Finding, good, note, wrong
from medmesh.runtime.sizes import size_findings
from schemas.errors import ConfigurationError


def check_sizes(configuration: Configuration, max_payload: int) -> list[Finding]:
    """Whether everything that adapters accept can be stored, dead-lettered and replayed."""
    try:
        small = list(size_findings(configuration, max_payload))
        most = max_content_bytes(max_payload)
    except ConfigurationError as error:
        return [
            wrong("server", "message size", str(error), "raise max_payload in its configuration")
        ]
    advice = "raise max_payload of the servers (8 MB is what medmesh gives its own), or lower max_message_bytes"
    if small:
        return [note("server", "message size", text, advice) for text in small]
    return [
        good(
            "server",
            "message size",
            f"events of up to {most} bytes can be stored, dead-lettered and replayed (max_payload {max_payload})",
        )
    ]


__all__ = ["check_sizes"]
