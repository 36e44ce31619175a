"""`medmesh --help` must answer at once: it imports no command and nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

from click.testing import CliRunner

from medmesh.cli import COMMANDS, cli

HEAVY = [
    "asyncio",
    "bus",
    "adapters",
    "cryptography",
    "google",
    "nats",
    "pydantic",
    "rich",
    "structlog",
    "uvloop",
]


def test_help_imports_no_command_and_no_library_but_click() -> None:
    program = (
        "import sys, json\n"
        "from click.testing import CliRunner\n"
        "before = set(sys.modules)\n"
        "from medmesh.cli import cli\n"
        "result = CliRunner().invoke(cli, ['--help'])\n"
        "print(json.dumps([result.exit_code, sorted(set(sys.modules) - before)]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    code, loaded = json.loads(done.stdout)
    assert code == 0
    assert [name for name in loaded if name.split(".")[0] in HEAVY] == []
    assert [name for name in loaded if name.startswith("medmesh.cli.")] == []


def test_every_listed_command_exists_and_explains_itself() -> None:
    runner = CliRunner()
    listing = runner.invoke(cli, ["--help"]).output
    for name in COMMANDS:
        assert f"  {name} " in listing
        result = runner.invoke(cli, [name, "--help"])
        assert result.exit_code == 0, result.output
        assert "Usage:" in result.output


def test_an_unknown_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(cli, ["upp"]).exit_code == 2
