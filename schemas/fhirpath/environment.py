"""What one evaluation carries: the focus, the variables, the clock that the caller gave, and the work left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeAlias

from schemas.fhirpath.errors import Failure, PathFailed
from schemas.fhirpath.values import Items


class Environment:
    """State of one evaluation. `left` counts down with each item touched; below zero the evaluation fails."""

    __slots__ = ("index", "left", "now", "root", "this", "total", "variables")

    def __init__(
        self, root: Items, variables: Mapping[str, Items], now: datetime | None, steps: int
    ) -> None:
        self.root = root
        self.this = root
        self.index = 0
        self.total: Items = []
        self.variables = variables
        self.now = now
        self.left = steps

    def spend(self, steps: int) -> None:
        """Count work. Raises `PathFailed` when there was too much."""
        self.left -= steps
        if self.left < 0:
            raise PathFailed(Failure.BUDGET, "evaluation")


Expression: TypeAlias = Callable[[Environment], Items]
Step: TypeAlias = Callable[[Items, Environment], Items]
Truth: TypeAlias = Callable[[Environment], bool | None]


__all__ = ["Environment", "Expression", "Step", "Truth"]
