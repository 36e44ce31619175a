"""`medmesh send`."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medmesh.cli.output import Exit, emit, errors_in_words, finish, json_option, run

if TYPE_CHECKING:
    from medmesh.sending import Report

_CHUNK_BYTES = 1 << 20


@click.command("send")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
)
@click.option("--to", "url", required=True, help="mllp://host:port, or mllps://host:port for TLS.")
@click.option(
    "--connections", type=click.IntRange(1, 4096), default=1, show_default=True,
    help="Connections; one keeps the order.",
)  # fmt: skip
@click.option(
    "--repeat", type=click.IntRange(1), default=1, show_default=True,
    help="How often; more than once, each copy gets a fresh MSH-10.",
)  # fmt: skip
@click.option(
    "--keep-control-id", is_flag=True,
    help="Keep MSH-10 when repeating: the mesh stores an exact resend once.",
)  # fmt: skip
@click.option(
    "--rate", type=click.FloatRange(0), default=0.0,
    help="Messages a second; 0 is as fast as answers come.",
)  # fmt: skip
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0, min_open=True), default=30.0,
    show_default=True, help="Seconds to wait for each answer.",
)  # fmt: skip
@click.option("--ca", type=click.Path(path_type=Path), help="PEM authority of the receiver.")
@click.option("--cert", type=click.Path(path_type=Path), help="Own PEM certificate.")
@click.option("--key", type=click.Path(path_type=Path), help="Own PEM key.")
@json_option
def command(
    files: tuple[Path, ...],
    url: str,
    connections: int,
    repeat: int,
    rate: float,
    timeout_s: float,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    *,
    keep_control_id: bool,
    as_json: bool,
) -> None:
    """Send the HL7 v2 messages in FILES (one message, many, or a batch; - reads standard input) by MLLP.

    Exit code 0: all accepted; 6: some were rejected or got no answer; 1: none was accepted.
    """
    from pydantic import ValidationError

    from adapters.hl7v2.config import ClientTls
    from bus.clock import SystemClock
    from medmesh.sending import Report, send_all, target

    with errors_in_words(as_json=as_json):
        try:
            tls = ClientTls(ca=ca, cert=cert, key=key) if ca or cert or key else None
        except ValidationError:
            raise click.UsageError("--cert and --key belong together") from None
        where = target(url, tls=tls, timeout_s=timeout_s)
        messages = _read(files)
    report, clock = Report(), SystemClock()
    total = len(messages) * repeat
    stream = _repeated(messages, repeat, keep_control_id=keep_control_id)
    started_s = clock.monotonic_s()

    async def main() -> None:
        with _Progress(total, report, shown=sys.stderr.isatty() and not as_json) as progress:
            await send_all(
                stream, where, report, clock, connections=connections, rate=rate,
                answer_timeout_s=timeout_s, changed=progress.changed,
            )  # fmt: skip

    run(main, as_json=as_json)
    _report(report, total, clock.monotonic_s() - started_s, as_json=as_json)


def _report(report: Report, total: int, seconds: float, *, as_json: bool) -> None:
    summary: dict[str, object] = {
        "messages": total,
        "sent": report.sent,
        "accepted": report.accepted,
        "rejected": report.rejected,
        "lost": report.lost,
        "codes": report.codes,
        "seconds": round(seconds, 3),
        "rate": round(report.sent / seconds, 1) if seconds > 0 else 0.0,
        "p50_ms": round(report.percentile_ms(0.50), 3),
        "p99_ms": round(report.percentile_ms(0.99), 3),
    }
    trouble = report.unreachable or report.last_trouble
    if trouble:
        summary["trouble"] = trouble
    if as_json:
        emit(summary)
    else:
        click.echo(
            f"sent {report.sent} of {total}: {report.accepted} accepted, {report.rejected} rejected, "
            f"{report.lost} without an answer; {summary['rate']}/s, "
            f"p50 {summary['p50_ms']} ms, p99 {summary['p99_ms']} ms"
        )
        if trouble:
            click.echo(f"medmesh: {trouble}", err=True)
    if report.accepted == total:
        return
    finish(Exit.PARTIAL if report.accepted else Exit.FAILURE)


def _read(files: tuple[Path, ...]) -> list[bytes]:
    from adapters.hl7v2.codec.batch import MessageFound, MessageRefused, split_messages
    from schemas.errors import ConfigurationError

    messages = []
    for path in files:
        found = 0
        for event in split_messages(_chunks(path)):
            if isinstance(event, MessageFound):
                messages.append(event.raw)
                found += 1
            elif isinstance(event, MessageRefused):
                raise ConfigurationError(f"{path}: message {event.index}: {event.error}")
        if not found:
            raise ConfigurationError(f"{path}: holds no HL7 v2 message (nothing starts with MSH)")
    return messages


def _chunks(path: Path) -> Iterator[bytes]:
    if str(path) == "-":
        yield from iter(lambda: sys.stdin.buffer.read(_CHUNK_BYTES), b"")
        return
    with path.open("rb") as file:
        yield from iter(lambda: file.read(_CHUNK_BYTES), b"")


def _repeated(messages: list[bytes], repeat: int, *, keep_control_id: bool) -> Iterator[bytes]:
    """Each message `repeat` times; copies differ in MSH-10 alone, which fits the 20 characters of HL7 v2."""
    from adapters.hl7v2.codec.header import peek
    from medmesh.sending import with_control_id

    if repeat == 1 or keep_control_id:
        for _ in range(repeat):
            yield from messages
        return
    token = secrets.token_hex(4)
    headers = [peek(message) for message in messages]
    number = 0
    for _ in range(repeat):
        for message, header in zip(messages, headers, strict=True):
            yield with_control_id(message, header, f"{token}{number:09d}")
            number += 1


class _Progress:
    """A progress bar on standard error, on a terminal only."""

    def __init__(self, total: int, report: Report, *, shown: bool) -> None:
        self._total = total
        self._report = report
        self._shown = shown

    def __enter__(self) -> _Progress:
        if self._shown:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("sending"), BarColumn(), MofNCompleteColumn(),
                TextColumn("{task.fields[words]}"), console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._task = self._bar.add_task("send", total=self._total, words="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._bar.stop()

    def changed(self) -> None:
        """Move the bar."""
        if self._shown:
            words = f"{self._report.rejected} rejected, {self._report.lost} lost"
            self._bar.update(self._task, completed=self._report.sent, words=words)
