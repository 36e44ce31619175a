"""The configurations that the page on access shows are accepted, together and alone."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from gateway.access.listeners import check_access
from schemas.gateway import GatewaySection

PAGE = Path(__file__).parents[4] / "docs" / "how-to" / "gateway-access.md"
BLOCKS = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_each_piece_is_accepted_beside_the_first(number: int) -> None:
    text = BLOCKS[0] if number == 0 else BLOCKS[0] + BLOCKS[number]

    check_access(GatewaySection.model_validate(tomllib.loads(text)["gateway"]))


def test_all_pieces_together_are_accepted() -> None:
    first, *rest = BLOCKS
    check_access(GatewaySection.model_validate(tomllib.loads(first + "".join(rest))["gateway"]))
