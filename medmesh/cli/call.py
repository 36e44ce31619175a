"""`medmesh call`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medmesh.cli.output import config_option, emit, errors_in_words, json_option, run, set_option

if TYPE_CHECKING:
    from bus.services.protocol import Response
    from medmesh.config import Configuration


@click.command("call")
@click.argument("service")
@click.argument("method")
@click.argument("body", default="")
@config_option
@set_option
@json_option
@click.option("--major", default=1, show_default=True, help="Major version of the service.")
@click.option(
    "--type", "kind", default="application/json", show_default=True, help="What the body is."
)
@click.option(
    "--timeout",
    default=5.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Seconds.",
)
@click.option("--idempotent", is_flag=True, help="Try again elsewhere when an answer is lost.")
@click.option("--instance", default="", help="Ask this instance alone, without retries.")
def command(
    service: str,
    method: str,
    body: str,
    config_file: Path | None,
    flags: tuple[str, ...],
    major: int,
    kind: str,
    timeout: float,
    instance: str,
    *,
    idempotent: bool,
    as_json: bool,
) -> None:
    """Call METHOD of SERVICE with BODY (text, @FILE or - for standard input) and print the answer.

    The call is made in the name of the operator: sealed, signed, balanced and retried as any other.
    """
    from medmesh.config import load
    from schemas import subjects

    with errors_in_words(as_json=as_json):
        subjects.token(service, what="service")
        subjects.token(method, what="method")
        configuration = load(config_file, flags=flags)
    raw = _body(body)
    answer = run(
        lambda: _call(
            configuration, service, method, raw,
            major=major, kind=kind, timeout_s=timeout, idempotent=idempotent, instance=instance,
        ),
        as_json=as_json,
    )  # fmt: skip
    if as_json:
        emit(
            {
                "type": answer.type,
                "body": answer.body.decode("utf-8", "replace"),
                "bytes": len(answer.body),
                "instance": answer.instance,
            }
        )
        return
    sys.stdout.buffer.write(answer.body)
    if sys.stdout.isatty():
        click.echo()


def _body(given: str) -> bytes:
    if given == "-":
        return sys.stdin.buffer.read()
    if not given.startswith("@"):
        return given.encode()
    try:
        return Path(given[1:]).read_bytes()
    except OSError as error:
        raise click.UsageError(f"{given[1:]} cannot be read: {error.strerror}") from None


async def _call(
    configuration: Configuration,
    service: str,
    method: str,
    body: bytes,
    *,
    major: int,
    kind: str,
    timeout_s: float,
    idempotent: bool,
    instance: str,
) -> Response:
    from bus.services.protocol import Request
    from bus.services.rights import caller_rights
    from medmesh.cli.guest import calling
    from medmesh.runtime.services import OPERATOR

    rights = caller_rights(configuration.site, service, major, caller=OPERATOR)
    request = Request(service=service, major=major, method=method, type=kind, body=body)
    async with calling(configuration, rights=rights) as (operator, calls):
        if instance:
            channel = calls.channel(operator)
            return await channel.call(request, timeout_s=timeout_s, instance=instance)
        caller = await calls.caller(operator)
        return await caller.call(request, timeout_s=timeout_s, idempotent=idempotent)
