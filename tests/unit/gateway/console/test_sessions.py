from __future__ import annotations

from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.protocol import Client, Proof
from gateway.console.sessions import Session, SessionRefused, Sessions
from schemas.subjects import SiteId

NOW = 1_800_000_000_000
KEY = b"k" * 32


def sessions(key: bytes = KEY, site: str = "north", **more: float) -> Sessions:
    options = {"idle_s": 600.0, "session_s": 3600.0} | more
    return Sessions(site=SiteId(site), site_key=key, **options)


def client(**more: object) -> Client:
    fields: dict[str, object] = {"name": "ops", "proof": Proof.API_KEY, "scopes": ("mesh/operate",)}
    return Client(**(fields | more))  # type: ignore[arg-type]  # the test's own fields


def begun(of: Sessions, **more: object) -> Session:
    return of.begin(client(**more), identifier="i" * 22, now_ms=NOW)


def test_any_gateway_of_the_site_believes_a_session_and_no_other() -> None:
    session = begun(sessions())
    cookie = sessions().seal(session)
    assert sessions().open(cookie, now_ms=NOW + 1000) == session
    assert session.as_client().proof is Proof.SESSION
    for other in (sessions(b"x" * 32), sessions(site="south")):
        with pytest.raises(SessionRefused):
            other.open(cookie, now_ms=NOW)


def test_a_session_ends_when_nothing_is_done_and_at_the_latest_after_its_time() -> None:
    of = sessions()
    session = begun(of)
    with pytest.raises(SessionRefused, match="ended"):
        of.open(of.seal(session), now_ms=NOW + 600_000)
    busy = session
    for minute in range(1, 12):
        renewed = of.renewed(busy, now_ms=NOW + minute * 300_000)
        assert renewed is not None
        busy = renewed
    of.open(of.seal(busy), now_ms=NOW + 3_599_000)
    with pytest.raises(SessionRefused, match="ended"):
        of.open(of.seal(busy), now_ms=NOW + 3_600_000)


def test_a_session_ends_with_the_proof_that_was_shown() -> None:
    of = sessions()
    cookie = of.seal(begun(of, expires_ms=NOW + 5000))
    of.open(cookie, now_ms=NOW + 4999)
    with pytest.raises(SessionRefused):
        of.open(cookie, now_ms=NOW + 5000)


def test_a_cookie_is_renewed_seldom() -> None:
    of = sessions()
    session = begun(of)
    assert of.renewed(session, now_ms=NOW + 1000) is None
    assert of.renewed(session, now_ms=NOW + 121_000) is not None


def test_a_session_from_the_future_is_refused_beyond_the_skew_of_clocks() -> None:
    of = sessions()
    cookie = of.seal(begun(of))
    of.open(cookie, now_ms=NOW - 29_000)
    with pytest.raises(SessionRefused, match="future"):
        of.open(cookie, now_ms=NOW - 31_000)


def test_more_scopes_than_a_browser_keeps_are_said_to_be_too_many() -> None:
    of = sessions()
    with pytest.raises(SessionRefused, match="scopes"):
        of.seal(begun(of, scopes=tuple(f"system/Type{n}.cruds" for n in range(400))))


def test_a_form_belongs_to_one_session() -> None:
    of = sessions()
    one = begun(of)
    other = of.begin(client(), identifier="j" * 22, now_ms=NOW)
    assert of.is_form_token(one, of.form_token(one))
    assert not of.is_form_token(other, of.form_token(one))
    assert not of.is_form_token(one, "")
    assert not of.is_form_token(one, "ü")
    assert of.form_token(one) not in of.seal(one)


@given(st.text())
def test_nothing_but_our_own_cookies_is_believed(cookie: str) -> None:
    with pytest.raises(SessionRefused):
        sessions().open(cookie, now_ms=NOW)


@given(st.integers(0, 400), st.sampled_from("AZaz09-_."))
def test_no_changed_cookie_is_believed(place: int, letter: str) -> None:
    of = sessions()
    cookie = of.seal(begun(of))
    place %= len(cookie)
    changed = cookie[:place] + letter + cookie[place + 1 :]
    if changed != cookie:
        with pytest.raises(SessionRefused):
            of.open(changed, now_ms=NOW)


def test_a_session_of_another_version_is_refused_even_with_a_true_mac() -> None:
    of = sessions()
    body = urlsafe_b64encode(b'{"client":"ops"}').rstrip(b"=").decode()
    with pytest.raises(SessionRefused, match="version"):
        of.open(f"{body}.{of._mac('session', body)}", now_ms=NOW)
