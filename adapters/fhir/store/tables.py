"""The store's own tables, by version. A version is frozen once released: changes are a new one.

`fhir_resource` has one row for each resource that ever was, `fhir_version` each of its versions; the other three hold
what current versions are found by. All of it is patient data at rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bus.transactions.database import Dialect, Transaction, number, spelled, text
from schemas.errors import ConfigurationError

_WORDS: Final[Mapping[Dialect, Mapping[str, str]]] = {
    Dialect.SQLITE: {
        "serial": "integer primary key autoincrement",
        "bytes": "blob",
        "big": "integer",
        "real": "real",
        "text": "text",
        "lean": "without rowid",
    },
    Dialect.POSTGRES: {
        "serial": "bigint generated always as identity primary key",
        "bytes": "bytea",
        "big": "bigint",
        "real": "double precision",
        "text": 'text collate "C"',
        "lean": "",
    },
}

_VERSIONS: Final = (
    (
        """create table fhir_resource (
            rid {serial},
            type {text} not null,
            id {text} not null,
            version {big} not null,
            updated_ms {big} not null,
            deleted integer not null,
            unique (type, id))""",
        """create index fhir_resource_live on fhir_resource (type, deleted, rid)""",
        """create index fhir_resource_updated on fhir_resource (type, updated_ms)""",
        """create table fhir_version (
            seq {serial},
            rid {big} not null,
            version {big} not null,
            updated_ms {big} not null,
            method text not null,
            body {bytes} not null,
            unique (rid, version))""",
        """create table fhir_token (
            param {big} not null,
            code {text} not null,
            system {text} not null,
            rid {big} not null,
            primary key (param, code, system, rid)) {lean}""",
        """create index fhir_token_rid on fhir_token (rid, param)""",
        """create table fhir_string (
            param {big} not null,
            folded {text} not null,
            rid {big} not null,
            exact {text} not null,
            primary key (param, folded, rid, exact)) {lean}""",
        """create index fhir_string_rid on fhir_string (rid, param)""",
        """create table fhir_range (
            param {big} not null,
            low {real} not null,
            high {real} not null,
            rid {big} not null,
            system {text} not null,
            code {text} not null,
            primary key (param, low, high, rid, system, code)) {lean}""",
        """create index fhir_range_rid on fhir_range (rid, param)""",
    ),
)

SCHEMA_VERSION: Final = len(_VERSIONS)
"""Version of the store's tables that this medmesh writes."""
_SCHEMA: Final = (
    "create table if not exists fhir_schema"
    " (one integer primary key, version integer not null, release text not null)"
)


async def migrate(transaction: Transaction, dialect: Dialect, release: str) -> None:
    """Bring the tables to `SCHEMA_VERSION`. The caller sees to it that nobody else does it at the same time.

    Raises `ConfigurationError` when a newer medmesh, or a store of another release of FHIR, has been here.
    """
    await transaction.execute(_SCHEMA)
    rows = await transaction.fetch("select version, release from fhir_schema where one = 1")
    found = number(rows[0][0]) if rows else 0
    held = text(rows[0][1]) if rows else release
    if held != release:
        raise ConfigurationError(
            f"release: this database holds FHIR {held}; a store of {release} needs one of its own"
        )
    if found > SCHEMA_VERSION:
        raise ConfigurationError(
            f"the store's tables have version {found}, this medmesh knows {SCHEMA_VERSION}: "
            "use the newer medmesh that wrote them"
        )
    if found == SCHEMA_VERSION:
        return
    for statements in _VERSIONS[found:]:
        for statement in statements:
            await transaction.execute(statement.format_map(_WORDS[dialect]))
    insert = spelled(
        dialect,
        "insert into fhir_schema (one, version, release) values (1, ?, ?)"
        " on conflict (one) do update set version = excluded.version",
    )
    await transaction.execute(insert, (SCHEMA_VERSION, release))


__all__ = ["SCHEMA_VERSION", "migrate"]
