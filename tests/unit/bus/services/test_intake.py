"""When a request is worth working, and where its answer may go."""

from __future__ import annotations

import pytest

from bus.envelope.types import Certificate, CertificateId, Envelope
from bus.services.intake import NotForUs, Timing, check_age, check_reply, timing
from bus.services.wire import read_request, request_content
from tests.unit.bus.services.serving import request

NOW_MS = 1_800_000_000_000


def envelope(
    *,
    sender: str = "spiffe://m/north/emr",
    reply_to: str = "ctl.north.answers.emr",
    age_s: float = 0.0,
    lives_s: float = 120.0,
    timeout_s: float = 2.0,
) -> Envelope:
    certificate = Certificate(
        id=CertificateId(bytes(16)), service=sender, instance="1", suite=1, sign_key=b"",
        kem_key=b"", seal_key=b"", kem_generation=1, publish=(), subscribe=(), not_before_ms=0,
        not_after_ms=0,
    )  # fmt: skip
    made_ms = NOW_MS - round(age_s * 1000)
    content = request_content(request(id=bytes(16)), timeout_s=timeout_s)
    return Envelope(
        "svc.x", certificate, content, b"", b"", 0, 0, made_ms, made_ms + round(lives_s * 1000), 0,
        reply_to,
    )  # fmt: skip


def judged(one: Envelope, *, max_skew_s: float = 1.0) -> Timing:
    return timing(
        one,
        read_request(one.content),
        arrived_s=100.0,
        now_ms=NOW_MS,
        max_skew_s=max_skew_s,
    )


def test_deadline_is_the_callers_wait_from_the_arrival() -> None:
    when = judged(envelope(age_s=0.5))
    assert (when.deadline_s, when.waited_s, when.is_late) == (102.0, 0.5, False)


def test_deadline_is_never_after_the_expiry() -> None:
    assert judged(envelope(timeout_s=2.0, lives_s=0.5)).deadline_s == 100.5


def test_request_is_late_when_its_caller_has_left_whatever_the_clocks_say() -> None:
    assert not judged(envelope(age_s=2.9)).is_late
    assert judged(envelope(age_s=3.1)).is_late


def test_callers_clock_may_run_ahead() -> None:
    when = judged(envelope(age_s=-30))
    assert (when.deadline_s, when.waited_s) == (102.0, 0.0)


@pytest.mark.parametrize(
    ("sender", "reply_to"),
    [
        ("spiffe://m/north/emr", "ctl.north.answers.his"),
        ("spiffe://m/south/emr", "ctl.north.answers.emr"),
        ("spiffe://m/north/emr", ""),
        ("spiffe://m/north/emr", "ctl.north.answers.*"),
        ("emr", "ctl.north.answers.emr"),
        ("spiffe://m/north/Not A Name", "ctl.north.answers.Not A Name"),
    ],
)
def test_answers_go_to_the_caller_alone(sender: str, reply_to: str) -> None:
    with pytest.raises(NotForUs, match="answers_elsewhere"):
        check_reply(envelope(sender=sender, reply_to=reply_to))
    check_reply(envelope())
    check_reply(envelope(sender="spiffe://m/south/his", reply_to="ctl.south.answers.his"))


def test_what_was_made_before_the_start_may_have_been_worked_before() -> None:
    check_age(envelope(age_s=1.9), started_ms=NOW_MS - 1000, max_skew_s=1.0)
    with pytest.raises(NotForUs, match="made_before_start"):
        check_age(envelope(age_s=2.1), started_ms=NOW_MS - 1000, max_skew_s=1.0)
