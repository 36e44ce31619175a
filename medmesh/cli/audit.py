"""`medmesh audit ls`: who did what at the gateway."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from medmesh.cli.output import (
    Exit,
    config_option,
    emit,
    errors_in_words,
    finish,
    json_option,
    run,
    set_option,
)

if TYPE_CHECKING:
    from bus.audit import StoredEntry, UnreadableEntries

_PERIOD: Final = re.compile(r"(?P<number>[0-9]{1,5})(?P<unit>[smhd])\Z")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@click.group("audit")
def command() -> None:
    """Read access records: who read, wrote or searched what at the gateway, and why.

    They are protected data. Only the auditor's key opens them, which lies where the site runs.
    """


@command.command("ls")
@config_option
@set_option
@json_option
@click.option("--client", default="", help="Of this client only.")
@click.option(
    "--since", default="", metavar="PERIOD", help="How far back, e.g. 30m, 12h, 7d; else all."
)
@click.option("--refused", is_flag=True, help="Only what was not allowed.")
def list_records(
    config_file: Path | None,
    flags: tuple[str, ...],
    client: str,
    since: str,
    *,
    refused: bool,
    as_json: bool,
) -> None:
    """List access records, oldest first. Exit code 6 where some cannot be read."""
    seconds = _seconds(since)
    with errors_in_words(as_json=as_json):
        from medmesh.config import load

        configuration = load(config_file, flags=flags)

    async def main() -> tuple[int, int]:
        from bus.audit import AccessReader, StoredEntry
        from bus.clock import SystemClock
        from medmesh.cli.guest import auditing

        shown = unreadable = 0
        since_ms = SystemClock().now_ms() - seconds * 1000 if seconds else 0
        async with auditing(configuration) as (auditor, store):
            reader = AccessReader(
                site=configuration.site, store=store, inspector=auditor.events.inspector()
            )
            async for one in reader.entries(since_ms=since_ms):
                if not isinstance(one, StoredEntry):
                    unreadable += 1
                elif (client and one.entry.client != client) or (refused and one.entry.allowed):
                    continue
                shown += 1
                emit(fields_of(one)) if as_json else click.echo(line_of(one))
        return shown, unreadable

    shown, unreadable = run(main, as_json=as_json)
    if not as_json and not shown:
        click.echo("no access records")
    if unreadable:
        finish(Exit.PARTIAL)


def _seconds(since: str) -> int:
    if not since:
        return 0
    found = _PERIOD.match(since)
    if found is None:
        raise click.UsageError(f"--since: {since!r} is no period; write 30m, 12h or 7d")
    return int(found["number"]) * _SECONDS[found["unit"]]


def fields_of(one: StoredEntry | UnreadableEntries) -> dict[str, object]:
    """A record for machines."""
    from bus.audit import UnreadableEntries

    if isinstance(one, UnreadableEntries):
        return {
            "seq": one.seq,
            "stored": _time(one.stored_ms),
            "readable": False,
            "reason": one.reason,
        }
    entry = one.entry
    return {
        "seq": one.seq,
        "at": _time(entry.at_ms),
        "readable": True,
        "client": entry.client,
        "proof": entry.proof,
        "user": entry.user,
        "purpose": entry.purpose,
        "deed": entry.deed,
        "what": entry.what,
        "allowed": entry.allowed,
        "status": entry.status,
        "remote": entry.remote,
        "details": dict(entry.details),
        "recorded_by": one.recorded_by,
    }


def line_of(one: StoredEntry | UnreadableEntries) -> str:
    """A record for people; what a client chose cannot move the cursor or begin a line."""
    from bus.audit import UnreadableEntries

    if isinstance(one, UnreadableEntries):
        return f"{_time(one.stored_ms)}  message {one.seq} cannot be read: {one.reason}"
    entry = one.entry
    who = f"{entry.client} ({entry.proof})" + (f" for {entry.user}" if entry.user else "")
    why = f"  [{entry.purpose}]" if entry.purpose else ""
    verdict = "" if entry.allowed else "  REFUSED"
    text = f"{_time(entry.at_ms)}  {who:32}  {entry.deed:9}  {entry.what}{why}{verdict}"
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
