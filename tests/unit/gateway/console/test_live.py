"""Event streams of pages: made once for everybody, only what changed, ended with the session."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.console.live import MAX_VIEWERS
from tests.unit.gateway.console.kit import Browser, Site, letter
from tests.unit.gateway.http.kit import World


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(World(tmp_path))


@dataclass
class Viewer:
    """One open stream."""

    browser: Browser
    sent: list[dict[str, Any]] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    slow: asyncio.Event | None = None

    async def run(self, page: str) -> None:
        told = "; ".join(f"{n}={v}" for n, v in self.browser.cookies.items()).encode()
        scope = {
            "type": "http", "method": "GET", "path": f"/console/live/{page}", "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"cookie", told)], "scheme": "http",
            "http_version": "1.1", "client": ("127.0.0.1", 1),
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if self.slow is not None:
                await self.slow.wait()
            self.sent.append(message)
            self.more.set()

        await self.browser.edge(scope, receive, send)

    async def until(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many events."""
        async with asyncio.timeout(10):
            while len(self.events()) < count:
                self.more.clear()
                await self.more.wait()
        return self.events()

    def text(self) -> str:
        return b"".join(one.get("body", b"") for one in self.sent).decode()

    def events(self) -> list[dict[str, Any]]:
        parts = [one for one in self.text().split("\n\n") if one.startswith("event: regions")]
        return [json.loads(one.partition("data: ")[2]) for one in parts]

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])


async def test_a_viewer_gets_everything_first_and_then_what_changed(site: Site) -> None:
    browser = await site.signed_in()
    viewer = Viewer(browser)
    task = asyncio.create_task(viewer.run("dead-letters"))
    first = (await viewer.until(1))[0]["regions"]
    assert set(first) == {"status", "badge", "letters"}
    site.letters.there = {1: letter(1)}
    await site.look()
    second = (await viewer.until(2))[1]["regions"]
    assert "archive" in second["letters"]
    viewer.gone.set()
    await task
    assert site.part is not None
    assert site.part._live.viewers == 0


async def test_a_region_is_made_once_for_all_who_watch(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = await site.signed_in()
    assert site.part is not None
    renderer = site.part._renderer
    made: list[str] = []
    region = renderer.region

    def counted(name: str, context: Any) -> str:
        made.append(name)
        return region(name, context)

    monkeypatch.setattr(renderer, "region", counted)
    viewers = [Viewer(browser) for _ in range(20)]
    tasks = [asyncio.create_task(one.run("consumers")) for one in viewers]
    for one in viewers:
        await one.until(1)
    assert sorted(made) == ["badge", "places", "status"]
    for one in viewers:
        one.gone.set()
    await asyncio.gather(*tasks)


async def test_an_alert_is_announced_when_it_starts_and_when_it_clears(site: Site) -> None:
    site.console = {"alert_after_s": 0.0}
    browser = await site.signed_in()
    viewer = Viewer(browser)
    task = asyncio.create_task(viewer.run("now"))
    assert (await viewer.until(1))[0]["announce"] == ""
    site.letters.there = {1: letter(1)}
    await site.look()
    assert (await viewer.until(2))[1]["announce"] == "Alert: archive could not take 1 message."
    site.letters.there.clear()
    await site.look()
    assert (await viewer.until(3))[2]["announce"].startswith("Cleared: archive")
    viewer.gone.set()
    await task


async def test_a_stream_ends_with_the_session(site: Site) -> None:
    site.doors.expires_ms = site.clock.now_ms() + 60_000
    browser = await site.signed_in()
    viewer = Viewer(browser)
    task = asyncio.create_task(viewer.run("now"))
    await viewer.until(1)
    site.clock.advance(60.0)
    await site.look()
    async with asyncio.timeout(5):
        await task
    assert "event: ended" in viewer.text()


async def test_a_gateway_that_stops_lets_its_viewers_go(site: Site) -> None:
    browser = await site.signed_in()
    viewer = Viewer(browser)
    task = asyncio.create_task(viewer.run("now"))
    await viewer.until(1)
    assert site.part is not None
    await site.part.drain(timeout_s=1)
    async with asyncio.timeout(5):
        await task
    late = Viewer(browser)
    await late.run("now")
    assert late.status == 503


async def test_nobody_follows_without_a_session_or_the_right(site: Site) -> None:
    viewer = Viewer(site.browser())
    await viewer.run("now")
    assert viewer.status == 401
    site.doors.rights["finder"] = ("find",)
    viewer = Viewer(await site.signed_in("finder"))
    await viewer.run("now")
    assert viewer.status == 403


async def test_there_is_no_stream_of_a_page_that_is_not(site: Site) -> None:
    viewer = Viewer(await site.signed_in())
    await viewer.run("secrets")
    assert viewer.status == 404


async def test_viewers_are_bounded(site: Site) -> None:
    browser = await site.signed_in()
    assert site.part is not None
    site.part._live.viewers = MAX_VIEWERS
    viewer = Viewer(browser)
    await viewer.run("now")
    assert viewer.status == 503


async def test_a_reader_that_takes_nothing_is_cut(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.console.live._WRITE_S", 0.05)
    viewer = Viewer(await site.signed_in())
    task = asyncio.create_task(viewer.run("now"))
    await viewer.until(1)
    viewer.slow = asyncio.Event()
    site.letters.there = {1: letter(1)}
    await site.look()
    async with asyncio.timeout(5):
        await task
    assert site.world.counters.get("console_viewer_cut") == 1


async def test_files_are_answered_with_a_tag_and_only_those_there_are(site: Site) -> None:
    browser = site.browser()
    page = await browser.get("/console/static/console.js")
    assert page.status == 200
    assert page.header("content-type").startswith("text/javascript")
    tag = page.header("etag")
    again = await browser.get("/console/static/console.js", {"if-none-match": tag})
    assert (again.status, again.text) == (304, "")
    for path in ("nothing.js", "../part.py", "", "console.css/"):
        assert (await browser.get(f"/console/static/{path}")).status == 404
