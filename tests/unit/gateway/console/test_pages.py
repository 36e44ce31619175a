"""What operators see and may do, page by page, without sockets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.gateway.console.kit import Site, letter
from tests.unit.gateway.http.kit import World


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(World(tmp_path))


PAGES = ("", "/subjects", "/services", "/find", "/dead-letters", "/consumers")


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_answers_with_the_headers_that_keep_a_browser_honest(
    site: Site, path: str
) -> None:
    site.letters.there = {1: letter(1)}
    browser = await site.signed_in()
    page = await browser.get(f"/console{path}")
    assert page.status == 200, page.text
    assert page.header("content-security-policy").startswith(
        "default-src 'self'; script-src 'self'"
    )
    assert page.header("cache-control") == "no-store"
    assert "<script>" not in page.text
    assert " style=" not in page.text
    assert "onclick" not in page.text
