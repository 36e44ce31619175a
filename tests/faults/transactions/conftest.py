"""A PostgreSQL for these tests."""

from __future__ import annotations

from tests.integration.bus.transactions.conftest import postgres, postgres_server

__all__ = ["postgres", "postgres_server"]
