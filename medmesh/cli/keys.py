"""`medmesh keys`: certificates for trying TLS out, API keys for clients of the gateway."""

from __future__ import annotations

from pathlib import Path

import click

from medmesh.cli.output import emit, errors_in_words, json_option


@click.group("keys")
def command() -> None:
    """Make certificates and API keys."""


@command.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--host", "hosts", multiple=True, help="Name or address of a server; more than one is fine."
)
@click.option(
    "--days",
    default=825,
    show_default=True,
    type=click.IntRange(1, 3650),
    help="Days that they are valid.",
)
@click.option("--force", is_flag=True, help="Replace certificates that are there.")
@json_option
def tls(folder: Path, hosts: tuple[str, ...], days: int, *, force: bool, as_json: bool) -> None:
    """Make an authority, a server's and a client's certificate in FOLDER, for tests and trials.

    What is there stays, unless --force is given. A hospital uses certificates of its own authority instead.
    """
    from bus.clock import SystemClock
    from bus.trust.tls import development_certificates

    names = hosts or ("localhost", "127.0.0.1", "::1")
    kept = (folder / "ca.pem").exists() and not force
    if not kept:
        with errors_in_words(as_json=as_json):
            development_certificates(folder, clock=SystemClock(), names=names, days=days)
    if as_json:
        emit({"folder": str(folder), "hosts": list(names), "made": not kept})
    elif kept:
        click.echo(f"{folder}: certificates are there already; --force replaces them")
    else:
        click.echo(
            f"{folder}: ca.pem, server.pem and server.key for {', '.join(names)}, client.pem and client.key"
        )


@command.command("api-key")
@click.argument("client")
@json_option
def api_key(client: str, *, as_json: bool) -> None:
    """Make an API key for CLIENT, a name in mesh.toml, and print it with what mesh.toml needs.

    The key is shown this once and kept nowhere: mesh.toml holds its hash. A client may have several, so that a new one
    works before the old one is taken out.
    """
    from gateway.access.keys import new_api_key

    try:
        key = new_api_key(client)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="CLIENT") from None
    if as_json:
        emit({"client": client, "key": key.text, "hash": key.hash})
        return
    click.echo(key.text)
    click.echo(
        f'\nGive it to {client}; it is not shown again. In mesh.toml, below [[gateway.client]] name = "{client}":\n\n'
        f'[[gateway.client.key]]\nhash = "{key.hash}"\n# until = 2030-01-01T00:00:00Z  # when it ends, if it does',
        err=True,
    )
