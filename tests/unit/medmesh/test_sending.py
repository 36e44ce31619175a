"""What a sending system does to its messages, and how it counts."""

from __future__ import annotations

import pytest

from adapters.hl7v2.codec.header import peek
from adapters.hl7v2.config import ClientTls
from medmesh.demo.messages import day
from medmesh.sending import Fate, Report, target, with_control_id
from schemas.errors import ConfigurationError


def test_a_fresh_control_id_changes_nothing_else() -> None:
    for message in day(100):
        header = peek(message.raw)
        changed = with_control_id(message.raw, header, "fresh1")
        assert peek(changed).control_id == "fresh1"
        assert with_control_id(changed, peek(changed), message.control_id) == message.raw


def test_a_message_without_a_control_id_gets_one() -> None:
    raw = b"MSH|^~\\&|A|B\rPID|1\r"
    assert with_control_id(raw, peek(raw), "x1") == b"MSH|^~\\&|A|B||||||x1\rPID|1\r"


@pytest.mark.parametrize(
    "url", ["his:2575", "http://his:1", "mllp://his", "mllp://:1", "mllp://h:99999", "mllp://h:1/x"]
)
def test_a_wrong_address_says_how_to_write_one(url: str) -> None:
    with pytest.raises(ConfigurationError, match="mllp://host:port"):
        target(url)


def test_certificates_belong_to_mllps() -> None:
    with pytest.raises(ConfigurationError, match="mllps://"):
        target("mllp://his:1", tls=ClientTls())
    assert target("mllps://his:1").tls is not None


def test_percentiles_are_those_of_the_answers() -> None:
    report = Report()
    for n in range(100):
        report.add(Fate.ACCEPTED, code="AA", latency_s=n / 1000)
    report.add(Fate.LOST)
    assert (report.sent, report.accepted, report.lost) == (101, 100, 1)
    assert report.percentile_ms(0.5) == pytest.approx(50)
    assert report.percentile_ms(0.99) == pytest.approx(99)
    assert Report().percentile_ms(0.5) == 0
