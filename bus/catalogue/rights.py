"""Who may write bindings: whose certificate may publish on one subject, on which nothing is ever sent."""

from __future__ import annotations

from typing import Final

from schemas import subjects
from schemas.subjects import SiteId

REGISTRAR: Final = "registrar"
"""The service in whose name `medmesh schema push` writes."""


def registrar_rights(site: SiteId) -> tuple[str, ...]:
    """What the certificate of a writer of bindings must let it publish."""
    return (subjects.schema_bindings(site),)


__all__ = ["REGISTRAR", "registrar_rights"]
