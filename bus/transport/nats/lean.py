"""Loads nats-py without aiohttp, which it imports for carriers over WebSocket when it is installed.

Those are not supported here, and that import takes a quarter of a program's start.
"""

from __future__ import annotations

import sys
from typing import Final

_UNUSED: Final = "aiohttp"

if _UNUSED not in sys.modules and "nats" not in sys.modules:
    sys.modules[_UNUSED] = None  # type: ignore[assignment]  # an import of it fails from here on
    try:
        import nats.aio.transport  # noqa: F401  # for its effect
    finally:
        del sys.modules[_UNUSED]

__all__: list[str] = []
