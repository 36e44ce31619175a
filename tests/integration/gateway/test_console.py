"""The console of a real site, without a browser: what it finds, what it may open, and what it writes down."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import httpx
import pytest

from schemas.gateway import GatewaySection
from tests.hospital import eventually
from tests.integration.gateway.console_site import EVERYTHING, ConsoleSite, console_site
from tests.shared_data import ROOT

TOML = re.findall(
    r"```toml\n(.*?)```", (ROOT / "docs/how-to/console.md").read_text("utf-8"), re.DOTALL
)


@pytest.mark.parametrize("text", TOML)
def test_each_configuration_of_the_page_is_one(text: str) -> None:
    GatewaySection.model_validate(tomllib.loads(text)["gateway"])


class Reader:
    """A browser that does as it is told."""

    def __init__(self, site: ConsoleSite) -> None:
        self.site = site
        self.client = httpx.AsyncClient(base_url=site.base, follow_redirects=True)

    async def get(self, path: str) -> str:
        response = await self.client.get(f"/console{path}")
        assert response.status_code == 200, response.text
        return re.sub("<wbr>", "", response.text)

    async def post(self, path: str, **fields: str) -> str:
        page = await self.get("/find")
        token = re.findall(r'name="form_token" value="([^"]+)"', page)[0]
        response = await self.client.post(
            f"/console{path}",
            data={"form_token": token, **fields},
            headers={"origin": self.site.base},
        )
        assert response.status_code == 200, response.text
        return re.sub("<wbr>", "", response.text)


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_messages_are_found_by_each_of_their_identifiers_and_followed(tmp_path: Path) -> None:
    async with console_site(tmp_path, clients={"ops": EVERYTHING}) as site:
        sent = await site.send(8)
        await site.sink.received(8, within_s=30)
        reader = Reader(site)
        await reader.client.post("/console/sign-in", data={"proof": site.keys["ops"]})
        control = sent[7].raw.split(b"|")[9].decode()

        async def converted() -> str:
            return await reader.post("/find", text=control, kind="control")

        page = await converted()
        while "fhir-map" not in page:  # each look is a request of its own: this takes a moment
            page = await converted()
        assert "raw.hl7v2" in page
        parts = [one for one in page.split("<tr>") if "raw.hl7v2" in one]
        raw = re.findall(r"/console/messages/([0-9a-f]{32})", parts[0])[0]
        for kind, text in (("message", raw), ("any", raw), ("patient", sent[7].patient)):
            assert raw in await reader.post("/find", text=text, kind=kind)
        assert raw not in await reader.post("/find", text=control, kind="patient")
        assert "0 messages" in await reader.post("/find", text="nobody has that", kind="any")
        own = await reader.get(f"/messages/{raw}")
        assert sent[7].patient not in own
        refused = await reader.get("/dead-letters/1")
        assert "the receiver rejected it" in refused
        original = re.findall(r"/console/messages/([0-9a-f]{32})", refused)[0]
        assert "given up by" in await reader.get(f"/messages/{original}")
        await reader.client.aclose()


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_gateway_opens_nothing_that_the_configuration_does_not_name(tmp_path: Path) -> None:
    async with console_site(tmp_path, clients={"ops": EVERYTHING}, contents=()) as site:
        sent = await site.send(6)
        await site.sink.received(6, within_s=30)
        reader = Reader(site)
        await reader.client.post("/console/sign-in", data={"proof": site.keys["ops"]})
        assert "0 messages" in await reader.post("/find", text=sent[0].patient, kind="any")
        page = await reader.get("/dead-letters/1")
        assert "does not let this gateway open such events" in page
        original = re.findall(r"/console/messages/([0-9a-f]{32})", page)[0]
        way = await reader.get(f"/messages/{original}")
        assert "given up by" in way
        assert "only what became of it is known" in way
        reason = "the ward asks for its order"
        shown = await reader.post(f"/messages/{original}", reason=reason)
        assert sent[0].patient not in shown
        assert "does not let this gateway open" in shown
        await reader.client.aclose()


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_the_log_and_the_figures_hold_nothing_of_a_patient(tmp_path: Path) -> None:
    async with console_site(tmp_path, clients={"ops": EVERYTHING}) as site:
        sent = await site.send(5)
        await site.sink.received(5, within_s=30)
        reader = Reader(site)
        await reader.client.post("/console/sign-in", data={"proof": site.keys["ops"]})
        page = await reader.post("/find", text=sent[0].patient, kind="patient")
        found = re.findall(r"/console/messages/([0-9a-f]{32})", page)[0]
        shown = await reader.post(f"/messages/{found}", reason="the ward asks for its order")
        assert sent[0].patient in shown
        await reader.client.aclose()
        child = site.site.child
        assert child is not None
        await site.site.stop()
        await eventually(lambda: child.process.returncode is not None, within_s=30, what="the end")
        said = "".join([*child.lines, *child.errors])
        assert sent[0].patient not in said
        assert site.keys["ops"] not in said
