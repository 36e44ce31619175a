"""The console in a real Chromium: everybody can use it, the strict policy is kept, and what it shows is live.

Judged by axe-core on each page, light and dark; charts are SVG, so their colours are measured here as well.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, ConsoleMessage, Page, Playwright, async_playwright

from tests.hospital import eventually
from tests.integration.gateway.console_site import (
    EVERYTHING,
    REFUSED,
    ConsoleSite,
    console_site,
)

pytestmark = [
    pytest.mark.server, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="module"),
]  # fmt: skip

AXE: Final = Path(__file__).parents[1] / "judges" / "console" / "node_modules/axe-core/axe.min.js"
CHROMIUM: Final = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
CONTRAST: Final = 3.0
"""Of lines in charts against what is behind them (WCAG 2.2 §1.4.11)."""


def chromium() -> str:
    """The browser; a developer's machine may have none."""
    told = os.environ.get("MEDMESH_CHROMIUM", "")
    found = next((one for one in (told, *CHROMIUM) if one and Path(one).is_file()), "")
    if not found:
        assert os.environ.get("CI") != "true", "chromium is not installed"
        pytest.skip("needs chromium")
    return found


def axe() -> str:
    """The judge."""
    if not AXE.is_file():
        assert os.environ.get("CI") != "true", "`make judges` was not run"
        pytest.skip("needs `make judges`")
    return AXE.read_text()


@dataclass
class Operator:
    """A browser that an operator has before it, and what it complained of."""

    site: ConsoleSite
    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)

    async def go(self, path: str) -> None:
        await self.page.goto(f"{self.site.base}/console{path}")

    async def sign_in(self, name: str = "ops") -> None:
        await self.go("")
        await self.page.fill("#proof", self.site.keys[name])
        await self.page.keyboard.press("Enter")
        await self.page.wait_for_selector("nav")

    async def updates(self) -> int:
        return int(await self.page.evaluate("() => Number(document.body.dataset.updates || 0)"))

    async def until(self, told: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait for something that the page comes to show."""
        async with asyncio.timeout(30):
            while not await told():
                await self.page.evaluate("() => new Promise(done => setTimeout(done, 30))")
                assert not self.complaints, (what, self.complaints)

    async def live(self, more: int = 1) -> None:
        """Wait for so many updates from here on."""
        before = await self.updates()

        async def enough() -> bool:
            return await self.updates() >= before + more

        await self.until(enough, "the page is live")

    async def judge(self) -> list[str]:
        """What axe finds wrong. It is put in beside the page's policy, which would rightly refuse it."""
        session = await self.context.new_cdp_session(self.page)
        for script in (axe(), "0"):
            await session.send("Runtime.evaluate", {"expression": script})
        told = await session.send(
            "Runtime.evaluate",
            {"expression": "axe.run()", "awaitPromise": True, "returnByValue": True},
        )
        await session.detach()
        return [
            f"{one['id']}: {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
            for one in told["result"]["value"]["violations"]
            for node in one["nodes"]
        ]


@asynccontextmanager
async def operator(
    playwright: Playwright, site: ConsoleSite, **options: Any
) -> AsyncIterator[Operator]:
    browser = await playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
    try:
        context = await browser.new_context(**options)
        page = await context.new_page()
        found = Operator(site, context, page)

        def heard(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                found.complaints.append(message.text)

        page.on("console", heard)
        page.on("pageerror", lambda error: found.complaints.append(str(error)))
        yield found
        assert not found.complaints
    finally:
        await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def playwright() -> AsyncIterator[Playwright]:
    chromium()
    async with async_playwright() as running:
        yield running


@asynccontextmanager
async def busy_site(folder: Path) -> AsyncIterator[ConsoleSite]:
    """A site with dead letters, for an operator and a viewer."""
    clients = {"ops": EVERYTHING, "viewer": ("view",)}
    async with console_site(folder, clients=clients) as running:
        await running.send(12)
        await running.sink.received(12, within_s=30)
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ConsoleSite]:
    """For tests that leave the dead letters where they are."""
    async with busy_site(tmp_path_factory.mktemp("console")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def own_site(tmp_path: Path) -> AsyncIterator[ConsoleSite]:
    """For a test that replays them, or breaks something."""
    async with busy_site(tmp_path) as running:
        yield running


async def first(page: Page, selector: str) -> str:
    """Where the first such link leads."""
    place = await page.locator(selector).first.get_attribute("href")
    assert place is not None
    return place.removeprefix("/console")


async def find(person: Operator, text: str) -> None:
    await person.go("/find")
    await person.page.fill("#text", text)
    await person.page.keyboard.press("Enter")
    await person.page.wait_for_selector("#found")


# everybody can use it


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_wrong_on_any_page_and_the_policy_is_kept(
    playwright: Playwright, site: ConsoleSite, scheme: str
) -> None:
    axe()
    wrong: dict[str, list[str]] = {}
    async with operator(playwright, site, color_scheme=scheme) as person:
        page = person.page
        await person.go("")
        wrong["sign in"] = await person.judge()
        await person.sign_in()
        for path in ("", "/subjects", "/services", "/dead-letters", "/consumers"):
            await person.go(path)
            await person.live()
            for details in await page.locator("details:not([open]) > summary").all():
                await details.click()
            wrong[path or "now"] = await person.judge()
            wrong[f"{path} charts"] = await faint(page)
        await person.go("/dead-letters")
        letter = await first(page, "main tbody th a")
        await person.go(letter)
        wrong["letter"] = await person.judge()
        await person.go(f"/dead-letters/replay?seq={letter.rpartition('/')[2]}")
        wrong["replay"] = await person.judge()
        await find(person, site.sent[0].patient)
        wrong["find"] = await person.judge()
        await person.go(await first(page, "main tbody th a"))
        wrong["message"] = await person.judge()
        await page.fill("#reason", "short")
        await page.evaluate("() => document.querySelector('.unmask').noValidate = true")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#reason-problem")
        wrong["unmask"] = await person.judge()
        response = await page.goto(f"{site.base}/console/nothing")
        assert response is not None
        assert response.status == 404
        person.complaints.clear()  # the browser's own word for 404
        wrong["error"] = await person.judge()
    assert {name: found for name, found in wrong.items() if found} == {}


MEASURE: Final = """() => [...document.querySelectorAll('.spark polyline, .chart .line, .chart .axis, .mark .dot')].map(e => {
  let back = e; let ground = 'rgba(0, 0, 0, 0)';
  while (back && /, 0\\)$/.test(ground)) { back = back.parentElement; ground = back ? getComputedStyle(back).backgroundColor : 'rgb(255, 255, 255)'; }
  const own = getComputedStyle(e);
  return [e.getAttribute('class') || e.tagName, own.stroke === 'none' ? own.fill : own.stroke, ground];
})"""  # noqa: E501 - one expression for the browser


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [float(one) / 255 for one in re.findall(r"[\d.]+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


async def faint(page: Page) -> list[str]:
    """Lines, scales and marks that can hardly be told from their ground."""
    found = []
    for name, ink, ground in await page.evaluate(MEASURE):
        light, dark = sorted((luminance(ink), luminance(ground)), reverse=True)
        if (light + 0.05) / (dark + 0.05) < CONTRAST:
            found.append(f"{name}: {ink} on {ground}")
    return found


async def test_all_can_be_done_with_the_keyboard(
    playwright: Playwright, own_site: ConsoleSite
) -> None:
    """From signing in to a replay, without a mouse; the focus can be seen at each step."""
    async with operator(playwright, own_site) as person:
        page = person.page
        await person.go("/dead-letters")
        await page.wait_for_selector("#proof")
        assert await focused(page) == "proof"
        await page.keyboard.type(own_site.keys["ops"])
        await page.keyboard.press("Enter")
        await page.wait_for_selector("h1:has-text('Dead letters')")
        await page.keyboard.press("Tab")
        assert await focused(page) == "Skip to content"
        await page.keyboard.press("Enter")
        assert await focused(page) == "main"
        await tab_to(page, "Replay all")
        await person.live(3)  # what is updated does not take the focus away
        assert (await focused(page)).startswith("Replay all")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("h1:has-text('Replay 4 messages')")
        await tab_to(page, "why")
        await page.keyboard.type("the receiver is back")
        await tab_to(page, "Send 4 messages")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("h1:has-text('4 of 4 sent again')")


FOCUS: Final = """() => {
  const e = document.activeElement, style = getComputedStyle(e);
  return [e.id || e.textContent.trim().replace(/\\s+/g, ' '), style.outlineStyle, style.outlineWidth];
}"""


async def focused(page: Page) -> str:
    """What has the focus: its id, else its words."""
    return str((await page.evaluate(FOCUS))[0])


async def tab_to(page: Page, words: str) -> None:
    """Go on with Tab until something has the focus; each stop on the way shows that it has."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        name, style, width = await page.evaluate(FOCUS)
        assert style != "none", f"no focus to be seen on {name!r}"
        assert width != "0px", name
        if str(name).startswith(words):
            return
    raise AssertionError(f"Tab does not lead to {words!r}")


# it is live


async def test_pages_follow_the_mesh_and_stay_where_the_operator_is(
    playwright: Playwright, site: ConsoleSite
) -> None:
    async with operator(playwright, site) as person:
        page = person.page
        await person.sign_in()
        await person.go("/subjects")
        await person.live()
        assert "live" in await page.inner_text("[data-link-state]")
        row = page.locator("[data-key='evt.north.raw.hl7v2'] .num").nth(1)

        async def counted(number: int) -> bool:
            return (await row.inner_text()).split()[0] == str(number)

        before = int((await row.inner_text()).split()[0])
        summary = page.locator("[data-key='evt.north.patient'] > details > summary")
        await summary.click()
        await page.fill("#filter", "raw")
        await site.send(5, seed=2)
        await person.until(lambda: counted(before + 5), "five more messages are kept")
        assert await page.input_value("#filter") == "raw"
        assert not await page.locator("[data-key='evt.north.patient']").is_visible()
        await page.fill("#filter", "")
        assert await page.locator("[data-key='evt.north.patient']").is_visible()
        is_open = "e => e.parentElement.open"
        assert not await summary.evaluate(is_open)


async def test_an_alert_starts_once_is_announced_and_clears_once(
    playwright: Playwright, own_site: ConsoleSite
) -> None:
    async with operator(playwright, own_site) as person:
        page = person.page
        await person.sign_in()

        async def shows(text: str) -> bool:
            return text in await page.inner_text("main")

        async def announced(text: str) -> bool:
            return text in str(await page.text_content("#announcer"))

        await person.until(lambda: shows("his-out could not take 4 messages"), "the alert")
        await person.until(lambda: announced("Alert: his-out could not"), "it is announced")
        other = await person.context.new_page()
        await other.goto(f"{own_site.base}/console/dead-letters")
        await other.click("text=Replay all 4")
        await other.fill("#why", "the receiver is back")
        await other.click("text=Send 4 messages again")
        await other.wait_for_selector("h1:has-text('4 of 4 sent again')")
        await page.bring_to_front()
        await person.until(lambda: shows("No alert is open"), "the alert is over")
        await person.until(lambda: announced("Cleared: his-out"), "its end is announced")
        await page.click("summary:has-text('Cleared')")
        assert await page.locator(".cleared li").count() == 1


async def test_a_gateway_that_comes_back_is_followed_again(
    playwright: Playwright, own_site: ConsoleSite
) -> None:
    """The server of the mesh is killed: the page says so, and goes on by itself when it is back."""
    async with operator(playwright, own_site) as person:
        await person.sign_in()
        await person.live()

        async def says(text: str) -> bool:
            return text in await person.page.inner_text(".strip")

        await own_site.site.kill_server()
        await person.until(lambda: says("cannot be reached"), "that the mesh is away")
        await person.until(lambda: says("live"), "the page is live all the while")

        async def is_back() -> bool:
            return not await says("cannot be reached")

        await person.until(is_back, "that the mesh is back")


async def test_an_update_costs_the_page_little(playwright: Playwright, site: ConsoleSite) -> None:
    """What an update takes is measured and printed; the bound is generous: machines differ."""
    async with operator(playwright, site) as person:
        page = person.page
        await person.sign_in()
        await person.go("")
        await person.live()
        await page.evaluate(
            """() => {
                window.took = [];
                const seen = list => window.took.push(...list.getEntries().map(e => e.duration));
                new PerformanceObserver(seen).observe({type: 'longtask', buffered: false});
            }"""
        )
        await site.send(20, seed=3)
        await person.live(8)
        long_tasks = await page.evaluate("() => window.took")
        assert len(long_tasks) <= 2, long_tasks


# what may be seen


async def test_a_message_is_found_followed_and_unmasked_for_a_reason_that_auditors_see(
    playwright: Playwright, site: ConsoleSite
) -> None:
    patient = site.sent[0].patient
    async with operator(playwright, site) as person:
        page = person.page
        await person.sign_in()
        await find(person, patient)
        assert patient not in page.url
        await page.locator("main tbody tr", has_text="raw.hl7v2").first.locator("a").click()
        await page.wait_for_selector(".timeline")
        shown = await page.inner_text("main")
        assert "received by emr-in" in shown
        assert patient not in shown
        await page.fill("#reason", "the ward asks for its order")
        await page.click("text=Show and record")
        await page.wait_for_selector("text=Unmasked")
        assert patient in await page.inner_text(".content")
    audit = await medmesh(site, "audit", "ls", "--json")
    assert "the ward asks for its order" in audit
    assert '"deed":"unmask"' in audit.replace(" ", "")


async def medmesh(site: ConsoleSite, *arguments: str) -> str:
    """What a command of medmesh prints."""
    from tests.hospital import start

    child = await start(["-m", "medmesh", *arguments, "-c", str(site.site.config)])
    async with asyncio.timeout(60):
        await child.ended()
    return "".join(child.lines)


async def test_a_double_click_sends_once(playwright: Playwright, own_site: ConsoleSite) -> None:
    async with operator(playwright, own_site) as person:
        page = person.page
        await person.sign_in()
        await person.go("/dead-letters")
        await page.click("text=Replay all 4")
        await page.fill("#why", "the receiver is back")
        await page.dblclick("text=Send 4 messages again")
        await page.wait_for_selector("h1:has-text('4 of 4 sent again')")
        await page.go_back()
        if await page.locator("text=Send 4 messages again").count():
            await page.fill("#why", "the receiver is back")
            await page.click("text=Send 4 messages again")
            await page.wait_for_selector("h1:has-text('4 of 4 sent again')")
    total = 12 + REFUSED
    await eventually(
        lambda: len(own_site.sink.journal.received) >= total, within_s=30, what="they came again"
    )
    assert len(own_site.sink.journal.received) == total


async def test_a_viewer_sees_and_does_no_more_than_that(
    playwright: Playwright, site: ConsoleSite
) -> None:
    async with operator(playwright, site) as person:
        page = person.page
        await person.sign_in("viewer")
        assert await page.locator("nav a").count() == 5
        await person.go("/dead-letters")
        assert not await page.locator("text=Replay all").count()
        await page.click("text=Sign out")
        await page.wait_for_selector("#proof")
        await person.go("/consumers")
        await page.wait_for_selector("#proof")


async def test_everything_works_without_scripts(
    playwright: Playwright, own_site: ConsoleSite
) -> None:
    async with operator(playwright, own_site, java_script_enabled=False) as person:
        page = person.page
        await person.sign_in()
        assert await page.locator("noscript meta[http-equiv=refresh]").count() <= 1
        await person.go("/subjects?filter=raw")
        assert "evt" in await page.inner_text("main")
        await find(person, own_site.sent[0].patient)
        await person.go("/dead-letters")
        await page.click("text=Replay all 4")
        await page.fill("#why", "the receiver is back")
        await page.click("text=Send 4 messages again")
        await page.wait_for_selector("h1:has-text('4 of 4 sent again')")


async def test_colours_can_be_chosen_against_the_system(
    playwright: Playwright, site: ConsoleSite
) -> None:
    async with operator(playwright, site, color_scheme="light") as person:
        page = person.page
        await person.sign_in()
        ground = "() => getComputedStyle(document.body).backgroundColor"
        light = await page.evaluate(ground)
        await page.click("button[title='Light or dark']")
        await page.wait_for_selector("html[data-theme=dark]")
        assert luminance(await page.evaluate(ground)) < luminance(light)
        await person.go("/consumers")
        assert await page.get_attribute("html", "data-theme") == "dark"
