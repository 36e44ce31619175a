"""`medmesh dlq ls|show|replay`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

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
    from bus.events.replays import DeadLetterSummary, Replayed, UnreadableDeadLetter
    from medmesh.config import Configuration


@click.group("dlq")
def command() -> None:
    """List, show and replay dead letters: messages that a destination could not take.

    Nothing here can be read by whoever operates it: a dead letter shows where, why and when, never what.
    """


def _configuration(
    config_file: Path | None, flags: tuple[str, ...], *, as_json: bool
) -> Configuration:
    from medmesh.config import load

    with errors_in_words(as_json=as_json):
        return load(config_file, flags=flags)


@command.command("ls")
@config_option
@set_option
@json_option
@click.option("--consumer", default="", help="Of this adapter or durable name only.")
def list_letters(
    config_file: Path | None, flags: tuple[str, ...], consumer: str, *, as_json: bool
) -> None:
    """List dead letters, oldest first."""
    configuration = _configuration(config_file, flags, as_json=as_json)

    async def main() -> int:
        from medmesh.cli.guest import operating

        number = 0
        async with operating(configuration) as operator:
            async for letter in operator.events.dead_letters().list(consumer):
                number += 1
                emit(_fields(letter)) if as_json else click.echo(_line(letter))
        return number

    number = run(main, as_json=as_json)
    if not as_json and not number:
        click.echo("no dead letters")


@command.command("show")
@click.argument("seq", type=click.IntRange(1))
@config_option
@set_option
@json_option
def show_letter(
    seq: int, config_file: Path | None, flags: tuple[str, ...], *, as_json: bool
) -> None:
    """Show all that is known of the dead letter SEQ."""
    configuration = _configuration(config_file, flags, as_json=as_json)

    async def main() -> DeadLetterSummary | UnreadableDeadLetter:
        from bus.transport.protocol import NotFound
        from medmesh.cli.guest import operating

        async with operating(configuration) as operator:
            try:
                return await operator.events.dead_letters().show(seq)
            except NotFound:
                raise NotFound(
                    f"there is no dead letter {seq} (any more): `medmesh dlq ls` lists them"
                ) from None

    fields = _fields(run(main, as_json=as_json))
    if as_json:
        emit(fields)
    else:
        for name, value in fields.items():
            click.echo(f"{name:18} {value}")


@command.command("replay")
@click.argument("seqs", nargs=-1, type=click.IntRange(1))
@config_option
@set_option
@json_option
@click.option("--consumer", default="", help="With --all: of this adapter or durable name only.")
@click.option("--all", "everything", is_flag=True, help="Every dead letter (of --consumer).")
@click.option(
    "--to", default="", help="Have another consumer take it, one that reads the subject as well."
)
@click.option(
    "--reason",
    default="ordered on the command line",
    show_default=True,
    help="Why, for the record.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be replayed.")
def replay(
    seqs: tuple[int, ...],
    config_file: Path | None,
    flags: tuple[str, ...],
    consumer: str,
    to: str,
    reason: str,
    *,
    everything: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Have messages taken again by the destination that gave up on them.

    Safe to repeat: a dead letter is ordered once, and goes when its order is stored. Exit code 6 when some could not be
    ordered, 3 when one is not there.
    """
    if bool(seqs) == everything:
        raise click.UsageError("give the numbers of dead letters, or --all")
    configuration = _configuration(config_file, flags, as_json=as_json)

    async def main() -> tuple[list[int], Replayed | None]:
        from bus.events.replays import DeadLetterSummary
        from medmesh.cli.guest import operating

        async with operating(configuration) as operator:
            letters = operator.events.dead_letters()
            chosen = list(seqs)
            if everything:
                chosen = [
                    letter.seq
                    async for letter in letters.list(consumer)
                    if isinstance(letter, DeadLetterSummary)
                ]
            elif dry_run:
                for seq in chosen:
                    await letters.show(seq)
            done = None if dry_run else await letters.replay(chosen, reason=reason, to=to)
            return chosen, done

    chosen, done = run(main, as_json=as_json)
    _report(chosen, done, as_json=as_json)


def _report(chosen: list[int], done: Replayed | None, *, as_json: bool) -> None:
    if done is None:
        if as_json:
            emit({"dry_run": True, "would_replay": chosen})
        else:
            click.echo(f"would replay {len(chosen)}: {', '.join(map(str, chosen)) or 'nothing'}")
        return
    if as_json:
        emit({"ordered": done.ordered, "gone": done.gone, "failed": done.failed})
    else:
        click.echo(f"ordered {len(done.ordered)} of {len(chosen)}")
        for seq in done.gone:
            click.echo(f"  {seq}: is not there (any more)", err=True)
        for seq, code in done.failed.items():
            click.echo(f"  {seq}: {code}; it stays a dead letter", err=True)
    if done.failed or (done.gone and done.ordered):
        finish(Exit.PARTIAL)
    if done.gone:
        finish(Exit.NOT_FOUND)


def _fields(letter: DeadLetterSummary | UnreadableDeadLetter) -> dict[str, object]:
    from bus.events.replays import UnreadableDeadLetter

    if isinstance(letter, UnreadableDeadLetter):
        return {
            "seq": letter.seq,
            "consumer": letter.consumer,
            "readable": False,
            "reason": letter.reason,
        }
    return {
        "seq": letter.seq,
        "consumer": letter.consumer,
        "readable": True,
        "reason": letter.reason,
        "detail": letter.detail,
        "subject": letter.subject,
        "stream_seq": letter.stream_seq,
        "message_id": letter.message_id.hex(),
        "attempts": letter.attempts,
        "first_attempt": _time(letter.first_attempt_ms),
        "last_attempt": _time(letter.last_attempt_ms),
        "stored": _time(letter.stored_ms),
        "reported_by": letter.reported_by,
        "envelope_bytes": letter.envelope_bytes,
        "stack": letter.stack,
    }


def _line(letter: DeadLetterSummary | UnreadableDeadLetter) -> str:
    fields = _fields(letter)
    if not fields["readable"]:
        return f"{letter.seq:>8}  {letter.consumer:16}  cannot be read: {letter.reason}"
    return (
        f"{letter.seq:>8}  {letter.consumer:16}  {fields['last_attempt']}  {fields['subject']}  "
        f"{letter.reason} after {fields['attempts']} attempts: {fields['detail']}"
    )


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")
