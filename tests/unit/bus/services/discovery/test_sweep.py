from __future__ import annotations

import json

import pytest

from bus.services.discovery.settings import DiscoverySettings
from bus.services.discovery.sweep import Stock, ping_answer
from bus.services.protocol import Health

SETTINGS = DiscoverySettings(max_instances=3)


def answer(**fields: object) -> bytes:
    made = {
        "type": "io.nats.micro.v1.ping_response",
        "name": "Legacy",
        "id": "OqWbTr0DUn",
        "version": "3.1.0",
        "metadata": {"vendor": "x"},
    }
    return json.dumps(made | fields).encode()


def test_service_that_answers_is_listed_until_it_has_missed_two_sweeps() -> None:
    stock = Stock(SETTINGS, site="north")
    (seen,) = stock.answered(answer(), 0.0, ())
    assert (seen.instance.service, seen.instance.major, seen.health) == (
        "Legacy",
        3,
        Health.HEALTHY,
    )
    assert seen.instance.protocols == ("nats-micro",)
    assert stock.answered(answer(), SETTINGS.sweep_s, ()) == ()
    assert stock.tick(3.4 * SETTINGS.sweep_s) == ()
    (gone,) = stock.tick(3.6 * SETTINGS.sweep_s)
    assert (gone.health, gone.reason) == (Health.GONE, "no_answer")
    assert stock.all() == []


def test_answer_of_an_instance_with_a_signed_record_says_nothing() -> None:
    stock = Stock(SETTINGS, site="north")
    stock.answered(answer(), 0.0, ())
    assert stock.answered(answer(), 1.0, {("Legacy", "OqWbTr0DUn")}) == ()
    assert stock.all() == []


def test_stock_services_are_bounded() -> None:
    stock = Stock(SETTINGS, site="north")
    for number in range(10):
        stock.answered(answer(id=f"i{number}"), 0.0, ())
    assert len(stock.all()) == 3


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"[" * 16_000,
        b"{" + b" " * 20_000,
        answer(type="io.nats.micro.v1.info_response"),
        answer(name="a.b"),
        answer(name="x" * 65),
        answer(name=7),
        answer(id=None),
        answer(version="latest"),
        answer(version="9999999.0.0"),
    ],
)
def test_anything_else_is_no_service(payload: bytes) -> None:
    assert ping_answer(payload, site="north") is None


@pytest.mark.parametrize(
    "metadata", [None, [], {"k": 1}, {"k": "x" * 600}, dict.fromkeys(map(str, range(65)), "v")]
)
def test_metadata_of_another_form_is_left_out(metadata: object) -> None:
    found = ping_answer(answer(metadata=metadata), site="north")
    assert found is not None
    assert found.metadata == {}
