"""The quick way to read YAML says what the library says, or leaves it to the library."""

from __future__ import annotations

from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.hl7v2.mapping.errors import TablesError
from adapters.hl7v2.mapping.model import Place
from adapters.hl7v2.mapping.plain_yaml import read_plain
from adapters.hl7v2.mapping.reading import _read_nodes, read_yaml

PLACE = Place(layer="site", file="segments/pid.yaml")
SHIPPED = [
    file
    for layer in ("std", "us", "to-v2")
    for folder in files("adapters.hl7v2").joinpath("maps", layer).iterdir()
    if folder.is_dir()
    for file in folder.iterdir()
    if file.name.endswith(".yaml")
]
PIECES = (
    "a: ",
    "b",
    "- ",
    "\n",
    "  ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    '"',
    "'",
    "1",
    "-0",
    "0.5",
    "010",
    "true",
    "no",
)
MORE = (
    "null",
    "~",
    "<<: ",
    "&x ",
    "*x",
    "!!int ",
    "! ",
    "---\n",
    "|\n",
    ">\n",
    ": ",
    "#",
    "\u00e9",
    "\t",
    "? ",
)


def test_every_shipped_table_is_read_the_quick_way_and_alike() -> None:
    assert SHIPPED
    for file in SHIPPED:
        raw = file.read_bytes()
        quick = read_plain(raw)
        assert quick is not None, file.name
        assert repr(quick) == repr(_read_nodes(raw, PLACE)), file.name


@given(st.lists(st.sampled_from(PIECES + MORE), max_size=24).map("".join))
@settings(max_examples=600, deadline=None)
def test_what_is_read_the_quick_way_is_what_the_library_reads(text: str) -> None:
    raw = text.encode()
    quick = read_plain(raw)
    if quick is not None:
        assert repr(quick) == repr(_read_nodes(raw, PLACE))


@pytest.mark.parametrize(
    "text",
    ["a: 1\na: 2", "a: &x 1", "a: !!str 1", "<<: {a: 1}", "a: [", "? [1]\n: 2", "1: a", "\x00"],
)
def test_what_is_more_than_plain_is_left_to_the_library(text: str) -> None:
    assert read_plain(text.encode()) is None


def test_a_key_that_stands_twice_is_still_told() -> None:
    with pytest.raises(TablesError, match="'a' stands twice"):
        read_yaml(b"a: 1\na: 2", PLACE)
