"""Where public sample data and vectors lie: ../shared beside the checkout, or the folder named by MEDMESH_SHARED."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def shared_path(relative: str) -> Path:
    """The path of shared data; skips the test where it is missing, and fails it when CI=true."""
    base = Path(os.environ.get("MEDMESH_SHARED", ROOT.parent / "shared"))
    path = base / relative
    if path.exists():
        return path
    reason = f"shared data is missing: {relative}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
