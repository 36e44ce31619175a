"""What operators see and may do, page by page, without sockets."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from bus.services.protocol import Health, Load
from gateway.access.protocol import Client, Deed, Proof
from gateway.console.sources import Found, Journey, Kind, Place, Step
from schemas.errors import Unavailable
from tests.unit.gateway.console.kit import (
    MESSAGE_ID,
    Browser,
    Page,
    Site,
    UnreadableDeadLetter,
    letter,
)
from tests.unit.gateway.http.kit import World, seen

PAGES = ("", "/subjects", "/services", "/find", "/dead-letters", "/consumers")
ADT = (
    b"MSH|^~\\&|EMR|NORTH|HIS|NORTH|20261123050000||ADT^A01^ADT_A01|C-1|P|2.5.1\r"
    b"PID|1||4711-99^^^MRN||Testperson^Vera||19800101|F\r"
)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(World(tmp_path))
    site.letters.there = {n: letter(n) for n in (1, 2, 3)}
    site.contents.bodies = {101: ("hl7v2/ADT^A01", ADT), 7: ("hl7v2/ADT^A01", ADT)}
    site.finder.journeys = {
        MESSAGE_ID: Journey(
            message_id=MESSAGE_ID, subject="evt.test.patient.admitted.7", source="emr-in", type="hl7v2/ADT^A01",
            stored_ms=2000, seq=7,
            steps=(
                Step(at_ms=1000, what="received", who="emr-in"),
                Step(at_ms=2500, what="given_up", who="archive", is_bad=True, dead_letter=1),
                Step(at_ms=0, what="waiting", who="his", is_pending=True),
            ),
        )
    }  # fmt: skip
    return site


# looking


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_answers_with_the_headers_that_keep_a_browser_honest(
    site: Site, path: str
) -> None:
    browser = await site.signed_in()
    page = await browser.get(f"/console{path}")
    assert page.status == 200, page.text
    policy = page.header("content-security-policy")
    assert policy.startswith("default-src 'self'; script-src 'self'")
    assert "unsafe" not in policy
    assert page.header("cache-control") == "no-store"
    assert page.header("x-frame-options") == "DENY"
    assert "<script>" not in page.text
    assert " style=" not in page.text
    assert " onclick" not in page.text


async def test_now_shows_what_flows_what_waits_and_what_is_wrong(site: Site) -> None:
    site.console = {"alert_after_s": 0.0}
    site.figures.read = [Place(name="his", kind="adapter", waiting=12)]
    browser = await site.signed_in()
    page = await browser.get("/console")
    for words in ("evt.test.patient.admitted", "archive could not take 3 messages", "1 alert"):
        assert words in page
    site.letters.there.clear()
    site.figures.stored = [dataclasses.replace(site.figures.stored[0], name="dlq-test")]
    await site.look()
    page = await browser.get("/console")
    assert "Everything runs" in page
    assert "Cleared (1)" in page


async def test_subjects_are_a_tree_that_a_filter_narrows(site: Site) -> None:
    site.figures.counts = {"evt.test.patient.admitted": 10, "evt.test.result.reported": 5}
    browser = await site.signed_in()
    page = await browser.get("/console/subjects")
    assert "2 of 2 subjects" in page
    page = await browser.get("/console/subjects?filter=RESULT")
    assert "1 of 2 subjects" in page
    assert "admitted" not in page.text.split("</form>")[-1]
    assert (await browser.get(f"/console/subjects?filter={'x' * 200}")).status == 400


async def test_services_show_load_latency_and_why_an_instance_is_left_out(site: Site) -> None:
    one = seen("beds", "free")
    sick = dataclasses.replace(
        one, health=Health.SUSPECT, reason="heartbeat_late", load=Load(in_flight=3, limit=10)
    )
    site.world.services = {"beds": [sick]}
    browser = await site.signed_in()
    page = await browser.get("/console/services")
    for words in ("its heartbeats are late", "3 of 10", "1.5 ms", "0 of 1 healthy", "timeout"):
        assert words in page


async def test_figures_that_are_old_say_so(site: Site) -> None:
    browser = await site.signed_in()
    site.figures.error = Unavailable("away")
    await site.look()
    page = await browser.get("/console/consumers")
    assert page.status == 200
    assert "Figures are from" in page
    site.world.is_connected = False
    await site.look()
    assert "The mesh cannot be reached" in await browser.get("/console")


# signing in


async def test_who_is_not_signed_in_sees_the_form_and_comes_back_to_the_page(site: Site) -> None:
    browser = site.browser()
    page = await browser.get("/console/dead-letters")
    assert (page.status, page.header("location")) == (
        303,
        "/console/sign-in?next=/console/dead-letters",
    )
    form = await browser.get(page.header("location"))
    assert form.hidden("next")[-1] == "/console/dead-letters"
    page = await browser.post(
        "/console/sign-in", {"proof": "key-ops", "next": "/console/dead-letters"}
    )
    assert page.header("location") == "/console/dead-letters"
    told = page.header("set-cookie")
    for part in ("HttpOnly", "SameSite=Strict", "Path=/console", "Max-Age=1800"):
        assert part in told
    assert "Secure" not in told
    assert [one.what for one in site.doors.records] == ["console: signed in"]


async def test_the_cookie_is_secure_where_browsers_come_by_tls(site: Site) -> None:
    site.public_url = "https://gateway.example"
    page = await site.browser().post("/console/sign-in", {"proof": "key-ops"})
    assert "Secure" in page.header("set-cookie")


@pytest.mark.parametrize("proof", ["key-nobody", "", "x" * 20_000, "ü"])
async def test_a_wrong_key_is_refused_in_words_and_without_a_session(
    site: Site, proof: str
) -> None:
    browser = site.browser()
    page = await browser.post("/console/sign-in", {"proof": proof})
    assert page.status in (400, 401)
    assert not browser.cookies
    assert 'role="alert"' in page.text


async def test_a_client_without_any_right_in_the_console_is_refused(site: Site) -> None:
    site.doors.rights["lab"] = ()
    page = await site.browser().post("/console/sign-in", {"proof": "key-lab"})
    assert page.status == 403
    assert "operate" in page


@pytest.mark.parametrize(
    "wanted",
    ["https://evil.example/", "//evil.example", "/console//evil", "/other", "/console/\\x"],
)
async def test_signing_in_leads_to_no_other_place_than_the_console(site: Site, wanted: str) -> None:
    page = await site.browser().post("/console/sign-in", {"proof": "key-ops", "next": wanted})
    assert page.header("location") == "/console"


async def test_any_gateway_takes_the_session_of_another(site: Site) -> None:
    browser = await site.signed_in()
    other = site.browser()
    other.cookies = dict(browser.cookies)
    assert (await other.get("/console")).status == 200


async def test_signing_out_takes_the_cookie_back(site: Site) -> None:
    browser = await site.signed_in()
    page = await browser.get("/console")
    token = page.hidden("form_token")[0]
    page = await browser.post("/console/sign-out", {"form_token": token})
    assert page.status == 303
    assert not browser.cookies
    assert (await browser.get("/console")).status == 303


async def test_a_client_that_is_no_longer_configured_is_out_at_once(site: Site) -> None:
    browser = await site.signed_in()
    del site.doors.rights["ops"]
    assert (await browser.get("/console")).status == 403


async def test_a_gateway_without_clients_needs_no_signing_in(site: Site) -> None:
    site.has_clients = False

    async def anybody(credentials: object) -> Any:
        return Client(name="ops", proof=Proof.NOTHING, scopes=("mesh/operate",))

    site.doors.identify = anybody  # type: ignore[method-assign]
    browser = site.browser()
    await site.look()
    page = await browser.get("/console/dead-letters")
    assert page.status == 200
    assert "Sign out" not in page
    assert browser.cookies


async def test_requests_count_against_the_rate_of_the_client(site: Site) -> None:
    browser = await site.signed_in()
    site.doors.rate = 0
    page = await browser.get("/console")
    assert page.status == 429
    assert page.header("retry-after")


# forms


async def test_a_form_from_elsewhere_is_refused(site: Site) -> None:
    browser = await site.signed_in()
    page = await browser.get("/console/find")
    token = page.hidden("form_token")[0]
    fields = {"form_token": token, "text": "x", "kind": "any"}
    assert (await browser.post("/console/find", fields)).status == 200
    assert (await browser.post("/console/find", fields | {"form_token": "no"})).status == 403
    assert (await browser.post("/console/find", {"text": "x"})).status == 403
    refused = await browser.post("/console/find", fields, sec_fetch_site="cross-site")
    assert refused.status == 403
    refused = await browser.post("/console/find", fields, origin="https://evil.example")
    assert refused.status == 403
    refused = await browser.post("/console/find", fields, content_type="text/plain")
    assert refused.status == 415
    refused = await browser.post("/console/find", fields | {"text": "x" * 70_000})
    assert refused.status == 413
    assert len(site.finder.asked) == 1


async def test_the_form_of_one_session_is_none_of_another(site: Site) -> None:
    first, second = await site.signed_in(), await site.signed_in()
    token = (await first.get("/console/find")).hidden("form_token")[0]
    assert (await second.post("/console/find", {"form_token": token, "text": "x"})).status == 403


async def test_signing_in_from_another_site_is_refused(site: Site) -> None:
    browser = site.browser()
    page = await browser.post("/console/sign-in", {"proof": "key-ops"}, sec_fetch_site="cross-site")
    assert page.status == 403
    assert not browser.cookies


async def test_light_or_dark_is_remembered_by_the_browser(site: Site) -> None:
    browser = await site.signed_in()
    await browser.post("/console/theme", {"theme": "dark", "next": "/console/find"})
    assert 'data-theme="dark"' in (await browser.get("/console")).text
    await browser.post("/console/theme", {"theme": '"><script>'})
    assert 'data-theme="dark"' in (await browser.get("/console")).text
    browser.cookies["medmesh-theme"] = '"><script>'
    assert "<script>" not in (await browser.get("/console")).text


async def test_what_is_not_there_is_said_in_a_page(site: Site) -> None:
    browser = await site.signed_in()
    for path in ("/console/nothing", "/console/dead-letters/99", "/console/messages/zz"):
        page = await browser.get(path)
        assert page.status == 404
        assert page.header("content-type").startswith("text/html")
        assert page.header("content-security-policy")
    page = await browser.ask("PUT", "/console/find", b"", {})
    assert (page.status, page.header("allow")) == (405, "GET, POST")


# rights

ASKED = [
    ("view", "GET", "/console"),
    ("view", "GET", "/console/dead-letters/1"),
    ("find", "GET", "/console/find"),
    ("find", "POST", "/console/find"),
    ("find", "GET", f"/console/messages/{MESSAGE_ID.hex()}"),
    ("unmask", "POST", f"/console/messages/{MESSAGE_ID.hex()}"),
    ("unmask", "POST", "/console/dead-letters/1"),
    ("replay", "GET", "/console/dead-letters/replay?seq=1"),
    ("replay", "POST", "/console/dead-letters/replay"),
    ("replay", "GET", "/console/dead-letters/orders/x"),
]


@pytest.mark.parametrize(("right", "method", "path"), ASKED)
async def test_without_the_right_nothing_is_shown_and_nothing_is_done(
    site: Site, right: str, method: str, path: str
) -> None:
    all_but = tuple(one for one in ("view", "find", "replay", "unmask") if one != right)
    site.doors.rights["some"] = all_but
    browser = await site.signed_in("some")
    token = await token_of(browser)
    site.doors.records.clear()
    if method == "GET":
        page = await browser.get(path)
    else:
        fields = {"form_token": token, "seq": 1, "form": "f" * 22, "reason": "because of the test"}
        page = await browser.post(path, fields)
    assert page.status == 403, page.text
    assert not site.letters.sent
    assert not site.contents.opened
    refused = [one for one in site.doors.records if not one.allowed]
    assert len(refused) == (right != "view")


async def token_of(browser: Browser) -> str:
    for path in ("/console/find", "/console"):
        page = await browser.get(path)
        if page.status == 200:
            return page.hidden("form_token")[0]
    raise AssertionError("no page with a form")


async def test_what_an_operator_may_not_do_is_not_offered(site: Site) -> None:
    site.doors.rights["viewer"] = ("view",)
    browser = await site.signed_in("viewer")
    page = await browser.get("/console/dead-letters")
    assert "Replay" not in page.text.split("<main")[1].replace("Replaying is safe", "")
    assert "Find a message" not in page
    page = await browser.get("/console/dead-letters/1")
    assert "Content" not in page.text.split("<main")[1]


# finding


async def find(browser: Browser, text: str, kind: str = "any") -> Page:
    token = (await browser.get("/console/find")).hidden("form_token")[0]
    return await browser.post("/console/find", {"form_token": token, "text": text, "kind": kind})


async def test_a_search_shows_what_was_found_and_is_written_down_first(site: Site) -> None:
    site.finder.found = {
        "4711": [
            Found(message_id=MESSAGE_ID, subject="evt.test.a.b.1", stored_ms=1, state="dead"),
            Found(message_id=bytes(16), subject="evt.test.a.c.1", stored_ms=1, state="delivered"),
        ]
    }
    browser = await site.signed_in()
    page = await find(browser, " 4711 ", "patient")
    assert "2 messages found" in page
    assert site.finder.asked == [(Kind.PATIENT, "4711")]
    record = site.doors.records[-1]
    assert (record.deed, record.details["identifier"]) == (Deed.SEARCH, "4711")
    assert "4711" not in record.what


async def test_a_search_that_cannot_be_written_down_is_not_made(site: Site) -> None:
    browser = await site.signed_in()
    site.doors.record_error = Unavailable("away")
    page = await find(browser, "4711")
    assert page.status == 503
    assert not site.finder.asked


async def test_a_search_that_makes_no_sense_is_said_so(site: Site) -> None:
    browser = await site.signed_in()
    assert (await find(browser, "", "any")).status == 400
    assert (await find(browser, "x" * 300)).status == 400
    assert (await find(browser, "x", "telepathy")).status == 400
    assert "0 messages found" in await find(browser, "x")
    site.finder.error = Unavailable("away")
    assert (await find(browser, "x")).status == 503


async def test_a_message_shows_its_way_and_a_masked_content(site: Site) -> None:
    browser = await site.signed_in()
    page = await browser.get(f"/console/messages/{MESSAGE_ID.hex()}")
    for words in ("received by", "given up by", "dead letter 1", "waits for", "+1.5 s", "MSH-9"):
        assert words in page
    assert "Testperson" not in page
    assert "4711-99" not in page
    assert site.doors.records[-1].deed is Deed.READ


async def test_unmasking_asks_for_a_reason_and_records_it_before_it_shows(site: Site) -> None:
    browser = await site.signed_in()
    path = f"/console/messages/{MESSAGE_ID.hex()}"
    token = (await browser.get(path)).hidden("form_token")[0]
    page = await browser.post(path, {"form_token": token, "reason": "short"})
    assert "Say why" in page
    assert "Testperson" not in page
    assert not site.contents.opened
    page = await browser.post(path, {"form_token": token, "reason": "order 17 went astray"})
    assert "Testperson^Vera" in page
    record = site.doors.records[-1]
    assert (record.deed, record.details["reason"]) == (Deed.UNMASK, "order 17 went astray")
    assert record.client.name == "ops"
    assert page.header("cache-control") == "no-store"


async def test_what_cannot_be_recorded_is_not_unmasked(site: Site) -> None:
    browser = await site.signed_in()
    path = f"/console/messages/{MESSAGE_ID.hex()}"
    token = (await browser.get(path)).hidden("form_token")[0]
    site.doors.record_error = Unavailable("away")
    page = await browser.post(path, {"form_token": token, "reason": "order 17 went astray"})
    assert page.status == 503
    assert "Testperson" not in page
    assert not site.contents.opened


async def test_a_content_that_this_gateway_may_not_open_says_why(site: Site) -> None:
    site.contents.bodies.clear()
    browser = await site.signed_in()
    page = await browser.get("/console/dead-letters/1")
    assert page.status == 200
    assert "may not open it" in page


# dead letters


async def test_a_dead_letter_shows_where_why_and_when_and_leads_to_the_original(site: Site) -> None:
    browser = await site.signed_in()
    page = await browser.get("/console/dead-letters/1")
    for words in ("the destination refuses it for good", "line 1 was refused", "Trace", "900 B"):
        assert words in page
    assert f"/console/messages/{MESSAGE_ID.hex()}" in page.text
    assert "<script>" not in page.text


async def test_one_that_cannot_be_opened_is_shown_as_such(site: Site) -> None:
    site.letters.there = {5: UnreadableDeadLetter(seq=5, consumer="his", reason="not_a_recipient")}
    browser = await site.signed_in()
    assert "cannot be opened" in await browser.get("/console/dead-letters")
    assert "cannot open it" in await browser.get("/console/dead-letters/5")
    page = await browser.get("/console/dead-letters/replay?seq=5")
    assert "None of them" in page


def order_of(page: Page, **more: object) -> dict[str, object]:
    fields: dict[str, object] = {
        "form_token": page.hidden("form_token")[-1],
        "form": page.hidden("form")[0],
        "seq": page.hidden("seq"),
        "to": "",
        "reason": "the archive is back",
    }
    return fields | more


async def test_a_dry_run_shows_what_would_be_sent_and_sends_nothing(site: Site) -> None:
    browser = await site.signed_in()
    listed = await browser.get("/console/dead-letters")
    assert "Replay all 3" in listed
    page = await browser.get("/console/dead-letters/replay?cause=archive~rejected~1")
    assert page.hidden("seq") == ["1", "2", "3"]
    assert "Nothing has been sent yet" in page
    assert not site.letters.sent


async def test_a_second_click_never_sends_twice(site: Site) -> None:
    browser = await site.signed_in()
    page = await browser.get("/console/dead-letters/replay?cause=archive~rejected~1")
    fields = order_of(page)
    first, second = await asyncio.gather(
        browser.post("/console/dead-letters/replay", fields),
        browser.post("/console/dead-letters/replay", fields),
    )
    assert first.header("location") == second.header("location")
    assert sorted(seq for seq, _, _ in site.letters.sent) == [1, 2, 3]
    # the same dead letters come up again, and the old form is sent once more, at another gateway
    site.letters.there = {n: letter(n) for n in (1, 2, 3)}
    other = site.browser()
    other.cookies = dict(browser.cookies)
    again = await other.post("/console/dead-letters/replay", fields)
    assert again.status == 303
    assert len(site.letters.sent) == 3
    result = await other.get(again.header("location"))
    assert "3 of 3 sent again" in result
    assert f"/console/messages/{MESSAGE_ID.hex()}" in result.text


async def test_an_order_goes_to_one_destination_with_its_reason_and_is_written_down(
    site: Site,
) -> None:
    site.figures.read = [
        Place(name="archive", kind="adapter", waiting=0, subjects=("evt.test.patient.>",)),
        Place(name="warehouse", kind="program", waiting=0, subjects=("evt.test.>",)),
        Place(name="lab", kind="adapter", waiting=0, subjects=("evt.test.result.>",)),
    ]
    browser = await site.signed_in()
    page = await browser.get("/console/dead-letters/replay?seq=2&seq=3")
    assert "only to warehouse" in page
    assert "only to lab" not in page
    await browser.post("/console/dead-letters/replay", order_of(page, to="warehouse"))
    assert site.letters.sent == [
        (2, "warehouse", "ops: the archive is back"),
        (3, "warehouse", "ops: the archive is back"),
    ]
    record = site.doors.records[-1]
    assert (record.deed, record.details["to"]) == (Deed.REPLAY, "warehouse")
    assert record.details["numbers"] == "2 3"


async def test_what_is_gone_meanwhile_is_said_and_not_sent(site: Site) -> None:
    browser = await site.signed_in()
    page = await browser.get("/console/dead-letters/replay?cause=archive~rejected~1")
    del site.letters.there[2]
    done = await browser.post("/console/dead-letters/replay", order_of(page))
    result = await browser.get(done.header("location"))
    assert "2 of 3 sent again" in result
    assert "not sent a second time" in result


@pytest.mark.parametrize(
    "change",
    [
        {"reason": ""},
        {"seq": []},
        {"seq": ["x"]},
        {"form": "short"},
        {"to": "../etc"},
        {"seq": ["0"]},
    ],
)
async def test_an_order_that_is_not_complete_is_not_taken(
    site: Site, change: dict[str, object]
) -> None:
    browser = await site.signed_in()
    page = await browser.get("/console/dead-letters/replay?seq=1")
    done = await browser.post("/console/dead-letters/replay", order_of(page, **change))
    assert done.status in (400, 404)
    assert not site.letters.sent


async def test_a_form_that_lacked_its_reason_keeps_its_number(site: Site) -> None:
    browser = await site.signed_in()
    page = await browser.get("/console/dead-letters/replay?seq=1")
    again = await browser.post("/console/dead-letters/replay", order_of(page, reason=""))
    assert "Say why" in again
    assert again.hidden("form") == page.hidden("form")


async def test_an_order_whose_end_is_not_known_is_said_so(site: Site) -> None:
    async def broken(seqs: Any, *, reason: str, to: str = "") -> Any:
        raise Unavailable("the connection broke")

    browser = await site.signed_in()
    page = await browser.get("/console/dead-letters/replay?seq=1")
    site.letters.replay = broken  # type: ignore[method-assign]
    done = await browser.post("/console/dead-letters/replay", order_of(page))
    assert done.status == 503
    result = await browser.get(f"/console/dead-letters/orders/{page.hidden('form')[0]}")
    assert "under way" in result


async def test_an_order_that_nobody_gave_is_not_found(site: Site) -> None:
    browser = await site.signed_in()
    for number in ("x" * 22, "short", "x.y"):
        assert (await browser.get(f"/console/dead-letters/orders/{number}")).status == 404
