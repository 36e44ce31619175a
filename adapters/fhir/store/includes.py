"""`_include` and `_revinclude`: what the matches name, and what names them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from adapters.fhir.store.engine import Unit
from adapters.fhir.store.matching import Condition
from adapters.fhir.store.permits import Permit
from adapters.fhir.store.questions import Include, Question
from adapters.fhir.store.repository import Version
from adapters.fhir.store.search import AT_ONCE, by_rows
from bus.transactions.database import number, places, text
from schemas.fhir.searching import Kind, Parameters

MAX_ROUNDS: Final = 4
"""How far `:iterate` goes."""
_LEVEL: Final = "r.deleted = 0"


async def find_includes(
    unit: Unit,
    question: Question,
    matches: Sequence[Version],
    parameters: Parameters,
    permit: Permit,
    limit: int,
) -> tuple[list[Version], bool]:
    """Further resources, each once and none of the matches; and whether `limit` left some out."""
    known = {one.rid for one in matches}
    found: list[Version] = []
    newest: Sequence[Version] = matches
    for round_number in range(MAX_ROUNDS):
        rids: dict[int, None] = {}
        for include in question.includes:
            if round_number and not include.is_iterated:
                continue
            rids.update(
                dict.fromkeys(await _rows_of(unit, include, newest, parameters, permit, limit))
            )
        fresh = [rid for rid in rids if rid not in known]
        if not fresh:
            break
        is_cut = len(found) + len(fresh) > limit
        newest = await by_rows(unit, fresh[: limit - len(found)])
        found += newest
        known.update(fresh)
        if is_cut:
            return found, True
    return found, False


async def _rows_of(
    unit: Unit,
    include: Include,
    of: Sequence[Version],
    parameters: Parameters,
    permit: Permit,
    limit: int,
) -> list[int]:
    if include.is_reverse:
        return await _naming(unit, include, of, parameters, permit, limit)
    sources = [one for one in of if one.resource_type == include.source]
    keys = _keys(include, parameters)
    found: list[int] = []
    for start in range(0, len(sources), AT_ONCE):
        part = [one.rid for one in sources[start : start + AT_ONCE]]
        found += await _named(unit, include, part, keys, permit)
    return found


async def _named(
    unit: Unit, include: Include, rids: Sequence[int], keys: Sequence[int], permit: Permit
) -> list[int]:
    sql = (
        f"select distinct r.rid, r.type from fhir_token t join fhir_resource r on r.type = t.system and r.id = t.code"  # noqa: S608
        f" where t.rid in ({places(len(rids))}) and t.param in ({places(len(keys))}) and {_LEVEL} order by r.rid"
    )
    rows = await unit.fetch(sql, (*rids, *keys))
    targets = [(number(row[0]), text(row[1])) for row in rows]
    wanted = [(rid, kind) for rid, kind in targets if not include.target or kind == include.target]
    return await _visible(unit, wanted, permit)


async def _naming(
    unit: Unit,
    include: Include,
    of: Sequence[Version],
    parameters: Parameters,
    permit: Permit,
    limit: int,
) -> list[int]:
    targets = [one for one in of if not include.target or one.resource_type == include.target]
    keys = _keys(include, parameters)
    found: list[tuple[int, str]] = []
    for start in range(0, len(targets), AT_ONCE):
        part = targets[start : start + AT_ONCE]
        each = " or ".join(["(t.code = ? and t.system = ?)"] * len(part))
        sql = (
            f"select distinct t.rid from fhir_token t join fhir_resource r on r.rid = t.rid"  # noqa: S608
            f" where t.param in ({places(len(keys))}) and ({each}) and r.type = ?"
            f" and {_LEVEL} order by t.rid limit {limit + 1}"
        )
        named = [value for one in part for value in (one.id, one.resource_type)]
        rows = await unit.fetch(sql, (*keys, *named, include.source))
        found += [(number(row[0]), include.source) for row in rows]
    return await _visible(unit, found, permit)


async def _visible(unit: Unit, rows: Iterable[tuple[int, str]], permit: Permit) -> list[int]:
    """Those that the requester may see."""
    by_type: dict[str, list[int]] = {}
    for rid, kind in rows:
        if permit.may(kind, "r"):
            by_type.setdefault(kind, []).append(rid)
    found: list[int] = []
    for kind, rids in by_type.items():
        inside = permit.shown(kind)
        found += rids if inside is None else await _confined(unit, rids, inside)
    return found


async def _confined(unit: Unit, rids: Sequence[int], inside: Condition) -> list[int]:
    found: list[int] = []
    for start in range(0, len(rids), AT_ONCE):
        part = rids[start : start + AT_ONCE]
        sql = f"select r.rid from fhir_resource r where r.rid in ({places(len(part))}) and {inside.sql}"  # noqa: S608
        found += [number(row[0]) for row in await unit.fetch(sql, (*part, *inside.arguments))]
    return found


def _keys(include: Include, parameters: Parameters) -> list[int]:
    own = parameters.of(include.source)
    if include.code != "*":
        return [own[include.code].key]
    return [one.key for one in own.values() if one.kind is Kind.REFERENCE]


__all__ = ["MAX_ROUNDS", "find_includes"]
