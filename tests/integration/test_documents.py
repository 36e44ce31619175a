"""What the documents show works: configurations load, Python compiles, commands exist, links lead somewhere."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from medmesh.cli import COMMANDS, cli
from tests.shared_data import ROOT

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def blocks(language: str) -> list[tuple[str, str]]:
    """(page, text) of every fenced block of a language."""
    return [
        (str(page.relative_to(ROOT)), text)
        for page in PAGES
        for text in re.findall(
            rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
        )
    ]


@pytest.mark.parametrize(("page", "text"), blocks("toml"))
def test_configurations_in_documents_are_accepted(page: str, text: str, tmp_path: Path) -> None:
    document = tomllib.loads(text)
    if "adapter" not in document:
        return  # a piece of another file
    if "mesh" not in document:
        text = '[mesh]\nname = "test"\nsite = "north"\n' + text
    for name in re.findall(r'"([\w-]+\.(?:pem|key))"', text):
        (tmp_path / name).write_text("")
    file = tmp_path / "mesh.toml"
    file.write_text(text)
    result = CliRunner().invoke(cli, ["config", "check", "-c", str(file)])
    assert result.exit_code == 0, f"{page}: {result.output}"


@pytest.mark.parametrize(("page", "text"), blocks("python"))
def test_python_in_documents_compiles(page: str, text: str) -> None:
    assert compile(text, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize(("page", "text"), blocks("console"))
def test_commands_in_documents_exist(page: str, text: str) -> None:
    for line in text.splitlines():
        words = line.removeprefix("$ ").split("#")[0].split()
        if words and words[0].endswith("medmesh"):
            assert words[1] in COMMANDS, f"{page}: {line}"
            options = [word for word in words if word.startswith("-")]
            shown = CliRunner().invoke(cli, [*usage(words[1:]), "--help"]).output
            for option in options:
                assert option in shown, f"{page}: {line}"


def usage(words: list[str]) -> list[str]:
    """The command and, for a group, its subcommand."""
    command = cli.get_command(click.Context(cli), words[0])
    return words[:2] if isinstance(command, click.Group) else words[:1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_documents_name_exist(page: Path) -> None:
    for name in re.findall(
        r"`?((?:docs|tests|examples|deploy|adapters|bus|schemas|benchmarks|scripts)/[\w./-]+\w)`?",
        page.read_text(),
    ):
        assert (ROOT / name).exists() or list(ROOT.glob(name + "*")), f"{page.name} names {name}"
