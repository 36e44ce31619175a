"""One lock for all that is loaded when it is met first: threads may convert at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Final, TypeVar

from schemas.fhir.release import Release

LOADING: Final = threading.RLock()
"""Held while types are loaded and plans are made, never while documents are converted by what is there already."""

T = TypeVar("T")


def one_each(make: Callable[[Release], T]) -> Callable[[Release], T]:
    """`make`, called once for each release of a process, whichever thread asks first."""
    made: dict[Release, T] = {}

    @wraps(make)
    def get(release: Release) -> T:
        if release not in made:
            with LOADING:
                if release not in made:
                    made[release] = make(release)
        return made[release]

    return get


__all__ = ["LOADING", "one_each"]
