"""Our tables in the user's database, by version. A version is frozen once released: changes are a new one.

Bodies, sagas' states and stored answers are patient data at rest: whoever may read the database may read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bus.transactions.database import Dialect, Transaction, number, spelled
from schemas.errors import ConfigurationError

_WORDS: Final[Mapping[Dialect, Mapping[str, str]]] = {
    Dialect.SQLITE: {
        "serial": "integer primary key autoincrement",
        "bytes": "blob",
        "big": "integer",
    },
    Dialect.POSTGRES: {
        "serial": "bigint generated always as identity primary key",
        "bytes": "bytea",
        "big": "bigint",
    },
}

_VERSIONS: Final = (
    (
        """create table medmesh_outbox (
            seq {serial},
            message_id {bytes} not null unique,
            lane integer not null,
            subject text not null,
            type text not null,
            body {bytes} not null,
            body_index {bytes} not null,
            received_ms {big} not null,
            traceparent text not null,
            receipts_from text not null,
            priority integer not null,
            on_behalf_of text not null,
            added_ms {big} not null,
            parked text not null)""",
        """create index medmesh_outbox_pending on medmesh_outbox (seq) where parked = ''""",
        """create table medmesh_inbox (
            consumer text not null,
            message_id {bytes} not null,
            part integer not null,
            seen_ms {big} not null,
            outcome text not null,
            answer {bytes} not null,
            reason text not null,
            primary key (consumer, message_id))""",
        """create index medmesh_inbox_age on medmesh_inbox (consumer, part, seen_ms)""",
        """create table medmesh_fence (
            consumer text not null,
            part integer not null,
            fence {big} not null,
            primary key (consumer, part))""",
        """create table medmesh_action (
            participant text not null,
            action_key {bytes} not null,
            seen_ms {big} not null,
            outcome text not null,
            answer {bytes} not null,
            reason text not null,
            primary key (participant, action_key))""",
        """create table medmesh_saga (
            id text primary key,
            name text not null,
            version integer not null,
            steps text not null,
            status text not null,
            step integer not null,
            attempts integer not null,
            is_open integer not null,
            in_doubt integer not null,
            step_began_ms {big} not null,
            due_ms {big} not null,
            error_code text not null,
            cause text not null,
            blocked text not null,
            revision {big} not null,
            started_ms {big} not null,
            changed_ms {big} not null,
            state {bytes} not null)""",
        """create index medmesh_saga_due on medmesh_saga (name, due_ms)
            where status in ('running', 'compensating', 'stuck')""",
        """create index medmesh_saga_status on medmesh_saga (status, changed_ms)""",
    ),
)

SCHEMA_VERSION: Final = len(_VERSIONS)
"""Version of our tables that this medmesh writes."""

_SCHEMA_TABLE: Final = (
    "create table if not exists medmesh_schema (one integer primary key, version integer not null)"
)


async def migrate(transaction: Transaction, dialect: Dialect) -> None:
    """Bring our tables to `SCHEMA_VERSION`. The caller sees to it that nobody else does it at the same time.

    Raises `ConfigurationError` when a newer medmesh has been here.
    """
    await transaction.execute(_SCHEMA_TABLE)
    rows = await transaction.fetch("select version from medmesh_schema where one = 1")
    found = number(rows[0][0]) if rows else 0
    if found > SCHEMA_VERSION:
        raise ConfigurationError(
            f"the medmesh tables of this database have version {found}, this medmesh knows {SCHEMA_VERSION}: "
            "use the newer medmesh that wrote them"
        )
    if found == SCHEMA_VERSION:
        return
    for statements in _VERSIONS[found:]:
        for statement in statements:
            await transaction.execute(statement.format_map(_WORDS[dialect]))
    insert = spelled(
        dialect,
        "insert into medmesh_schema (one, version) values (1, ?)"
        " on conflict (one) do update set version = excluded.version",
    )
    await transaction.execute(insert, (SCHEMA_VERSION,))


__all__ = ["SCHEMA_VERSION", "migrate"]
