"""Thousands of injected faults are no news."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bus.telemetry.log import configure_logging


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    configure_logging(json=False, level="critical")
    yield
    configure_logging(json=False, level="warning")
