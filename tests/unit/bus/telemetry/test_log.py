"""Logs carry codes, names and counts; whatever else is put into them comes out as a hash or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from bus.telemetry.failures import error_code, failure_fields
from bus.telemetry.log import Redaction, configure_logging, logger
from schemas.errors import Unavailable

SECRETS = (
    "Mustermann", "MUSTERMANN^ERIKA", "Erika Mustermann", "Ärztin Müller", "19640812", "4711-0815",
    "PID|1||4711-0815^^^KH^PI||MUSTERMANN^ERIKA", "Musterstraße 7, 12345 Berlin",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _own_configuration() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_safe_fields_pass_and_the_level_counts() -> None:
    out = io.StringIO()
    configure_logging(json=True, level="info", stream=out)
    log = logger("bus.events")
    log.debug("not_seen", count=1)
    log.info("message_stored", stream="evt-north", seq=17, subject="evt.north.raw.hl7v2.3")
    (line,) = lines(out)
    assert line["event"] == "message_stored"
    assert (line["level"], line["component"]) == ("info", "bus.events")
    assert (line["stream"], line["seq"], line["subject"]) == (
        "evt-north",
        17,
        "evt.north.raw.hl7v2.3",
    )


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("keep_hashes", [True, False])
def test_no_patient_data_comes_out_however_it_was_put_in(as_json: bool, keep_hashes: bool) -> None:
    out = io.StringIO()
    configure_logging(json=as_json, stream=out, redaction=Redaction(keep_hashes=keep_hashes))
    log = logger("adapters.hl7v2")
    for secret in SECRETS:
        log.warning(
            "patient_seen", patient=secret, name=secret, body=secret.encode(), control_id=secret
        )
        log.warning(secret)
        log.warning("odd_values", reason=[f"x {secret}"], state={"of": secret})
        log.warning("odd_key", **{secret: 1})
        try:
            dict[str, str]()[secret]
        except KeyError as error:
            log.warning("it_broke", exc_info=error)
            log.warning("it_broke", exc_info=True)
    for secret in SECRETS:
        assert secret not in out.getvalue()
        assert repr(secret.encode())[2:-1] not in out.getvalue()


def test_equal_values_look_equal_under_one_key_and_different_under_another() -> None:
    seen: list[object] = []
    for key in (b"a" * 32, b"a" * 32, b"b" * 32):
        out = io.StringIO()
        configure_logging(json=True, stream=out, redaction=Redaction(key=key))
        logger("x").info("seen", patient="4711")
        seen.append(lines(out)[0]["patient"])
    assert seen[0] == seen[1] != seen[2]
    assert str(seen[0]).startswith("hashed:")


def fail() -> None:
    raise Unavailable("his at 10.0.0.7 is away")


def test_exceptions_are_logged_by_type_code_and_place() -> None:
    out = io.StringIO()
    configure_logging(json=True, stream=out)
    try:
        fail()
    except Unavailable as error:
        logger("x").warning("call_failed", exc_info=error)
    (line,) = lines(out)
    assert (line["error_type"], line["error_code"]) == ("Unavailable", "unavailable")
    assert str(line["where"]).startswith(f"{__name__}:")
    assert "exc_info" not in line


def test_a_foreign_exception_is_known_by_its_type() -> None:
    assert error_code(ZeroDivisionError("4711")) == "ZeroDivisionError"
    assert failure_fields(ZeroDivisionError("4711"))["where"] == ""


def test_without_configuration_warnings_are_redacted_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    structlog.reset_defaults()
    log = logger("x")
    log.info("not_seen")
    log.warning("seen", patient="Mustermann")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "seen" in captured.err
    assert "Mustermann" not in captured.err


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="not known"):
        configure_logging(json=True, level="loud")
