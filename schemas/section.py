"""What every table of `mesh.toml` has in common."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict

NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]{0,62}$"


class Section(BaseModel):
    """A table of `mesh.toml`: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


__all__ = ["NAME_PATTERN", "Section"]
