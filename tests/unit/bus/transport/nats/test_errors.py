from __future__ import annotations

import pytest
from nats import errors as nats_errors

from bus.transport.nats.api import milliseconds, read_answer
from bus.transport.nats.errors import Violation, from_api, from_client, violation
from bus.transport.protocol import (
    NoResponders,
    NotFound,
    PayloadTooLarge,
    StreamFull,
    WrongRevision,
)
from schemas.errors import (
    Closed,
    DeadlineExceeded,
    MeshError,
    PermissionRefused,
    ResourceExhausted,
    SubjectError,
    Unavailable,
)


@pytest.mark.parametrize(
    ("code", "status", "text", "kind"),
    [
        (10059, 404, "stream not found", NotFound),
        (10014, 404, "consumer not found", NotFound),
        (10037, 404, "no message found", NotFound),
        (10057, 500, "no message found", NotFound),
        (10057, 500, "stream store EOF", NotFound),
        (10071, 400, "wrong last sequence: 4", WrongRevision),
        (10054, 400, "message size exceeds maximum allowed", PayloadTooLarge),
        (10077, 503, "maximum messages exceeded", StreamFull),
        (10077, 503, "maximum bytes exceeded", StreamFull),
        (10077, 503, "maximum messages per subject exceeded", StreamFull),
        (10077, 503, "write 1.blk: no space left on device", StreamFull),
        (10023, 503, "insufficient resources", StreamFull),
        (10047, 500, "insufficient storage resources available", StreamFull),
        (10002, 400, "resource limits exceeded for account", StreamFull),
        (10008, 503, "JetStream system temporarily unavailable", Unavailable),
        (10077, 503, "something else", Unavailable),
        (10049, 500, "anything", ResourceExhausted),
        (10003, 400, "bad request", MeshError),
    ],
)
def test_jetstream_error_becomes_ours(
    code: int, status: int, text: str, kind: type[MeshError]
) -> None:
    error = from_api({"code": status, "err_code": code, "description": text}, what="store")
    assert type(error) is kind
    assert text in str(error)
    assert str(code) in str(error)


@pytest.mark.parametrize("odd", [None, "text", {}, {"err_code": None}])
def test_odd_error_is_still_an_error(odd: object) -> None:
    assert isinstance(from_api(odd, what="x"), MeshError)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (nats_errors.NoRespondersError(), NoResponders),
        (nats_errors.AuthorizationError(), PermissionRefused),
        (nats_errors.Error("nats: 'Authorization Violation'"), PermissionRefused),
        (nats_errors.MaxPayloadError(), PayloadTooLarge),
        (nats_errors.BadSubjectError(), SubjectError),
        (nats_errors.BadHeaderError("a b"), SubjectError),
        (nats_errors.ConnectionClosedError(), Closed),
        (nats_errors.TimeoutError(), DeadlineExceeded),
        (TimeoutError(), DeadlineExceeded),
        (ConnectionRefusedError(111, "refused"), Unavailable),
        (nats_errors.NoServersError(), Unavailable),
    ],
)
def test_client_error_becomes_ours(error: Exception, kind: type[MeshError]) -> None:
    assert type(from_client(error, what="x")) is kind


def test_own_error_passes_through() -> None:
    own = NotFound("x")
    assert from_client(own, what="y") is own


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            'nats: Permissions Violation for Publish to "evt.a"',
            Violation("evt.a", "", "publish"),
        ),
        (
            'permissions violation for subscription to "a.>" using queue "q"',
            Violation("a.>", "q", "subscription"),
        ),
        ('permissions violation for subscription to "a"', Violation("a", "", "subscription")),
        (
            'permissions violation for publish with reply of "_inbox.x"',
            Violation("_inbox.x", "", "reply"),
        ),
        ("stale connection", None),
        ("maximum payload violation", None),
    ],
)
def test_violation_is_read_out_of_the_servers_line(line: str, found: Violation | None) -> None:
    assert violation(line) == found


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-11-22T17:03:49.251290539Z", 1_795_367_029_251),
        ("2026-11-22T17:03:49.2Z", 1_795_367_029_200),
        ("2026-11-22T17:03:49Z", 1_795_367_029_000),
    ],
)
def test_time_of_the_server_is_read_to_the_millisecond(text: str, ms: int) -> None:
    assert milliseconds(text) == ms


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"1", b"\xff"])
def test_answer_that_is_no_answer_is_our_error(payload: bytes) -> None:
    with pytest.raises(MeshError):
        read_answer(payload, what="x")
