"""What tools are told, against JSON schemas written from ADR-32's stated fields, and nats-py's own reader of them."""

from __future__ import annotations

import json
from typing import Any, Final

import jsonschema
import pytest
from nats.micro.service import ServiceInfo, ServicePing, ServiceStats

from bus.services import adr32
from bus.services.protocol import Instance, Load
from bus.services.stats import MethodStats
from tests.unit.bus.services.serving import Calls

TEXT: Final = {"type": "string"}
NAME: Final = {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"}
COUNT: Final = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
TEXTS: Final = {"type": "object", "additionalProperties": TEXT}


def schema(kind: str, **more: object) -> dict[str, Any]:
    """The standard fields, which every response has, and those of one kind; nothing else."""
    properties = {
        "type": {"const": f"io.nats.micro.v1.{kind}_response"},
        "name": NAME,
        "id": {"type": "string", "minLength": 1},
        "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+([-+].*)?$"},
        "metadata": TEXTS,
        **more,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": sorted(properties),
        "properties": properties,
        "additionalProperties": False,
    }


def endpoints(**more: object) -> dict[str, object]:
    properties = {
        "name": NAME,
        "subject": {"type": "string", "minLength": 1},
        "queue_group": TEXT,
        **more,
    }
    return {
        "type": "array",
        "items": {
            "type": "object",
            "required": sorted(set(properties) - {"data"}),
            "properties": properties,
            "additionalProperties": False,
        },
    }


PING = schema("ping")
INFO = schema("info", description=TEXT, endpoints=endpoints(metadata=TEXTS))
STATS = schema(
    "stats",
    started={
        "type": "string",
        "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$",
    },
    endpoints=endpoints(
        num_requests=COUNT,
        num_errors=COUNT,
        last_error=TEXT,
        processing_time=COUNT,
        average_processing_time=COUNT,
        data={"type": "object"},
    ),
)

INSTANCE = Instance(
    service="beds",
    id="a1",
    version="1.2.0-rc.1+7",
    site="north",
    zone="b",
    protocols=("medmesh/1",),
    started_ms=1_800_000_000_123,
    metadata={"owner": "nursing"},
)
OFFER = Calls().offer(description="Beds")


def checked(raw: bytes, against: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(raw)
    jsonschema.Draft202012Validator.check_schema(against)
    jsonschema.validate(told, against)
    return told


def counted() -> dict[str, MethodStats]:
    stats = {method.name: MethodStats() for method in OFFER.methods}
    stats["echo"].ended(0.002, "")
    stats["echo"].ended(0.0010001, "robot_stuck")
    return stats


def test_ping_says_who_it_is() -> None:
    told = checked(adr32.ping(INSTANCE), PING)
    assert told["metadata"]["owner"] == "nursing"
    assert told["metadata"]["site"] == "north"
    assert ServicePing.from_dict(told).id == "a1"


def test_info_lists_every_method_on_the_subject_that_stock_clients_ask() -> None:
    told = checked(adr32.info(INSTANCE, OFFER), INFO)
    read = ServiceInfo.from_dict(told)
    assert [one.name for one in read.endpoints] == [method.name for method in OFFER.methods]
    assert read.endpoints[0].subject == "svc.north.beds.v1.rpc.echo"
    assert {one.queue_group for one in read.endpoints} == {"q.beds"}
    assert told["endpoints"][0]["metadata"]["idempotent"] == "false"


def test_stats_are_nanoseconds_and_codes() -> None:
    told = checked(adr32.stats(INSTANCE, OFFER, counted(), Load(in_flight=2, limit=9)), STATS)
    read = ServiceStats.from_dict(told)
    echo = read.endpoints[0]
    assert (echo.num_requests, echo.num_errors, echo.last_error) == (2, 1, "robot_stuck")
    assert (echo.processing_time, echo.average_processing_time) == (3_000_100, 1_500_050)
    assert read.endpoints[1].average_processing_time == 0
    assert told["started"] == "2027-01-15T08:00:00.123Z"
    assert told["endpoints"][0]["data"]["limit"] == 9


def test_nine_subjects_are_listened_on() -> None:
    assert sorted(adr32.control_subjects("beds", "a1")) == sorted(
        f"$SRV.{verb}{rest}"
        for verb in ("PING", "INFO", "STATS")
        for rest in ("", ".beds", ".beds.a1")
    )


@pytest.mark.parametrize("subject", ["$SRV", "$SRV.SCHEMA", "svc.PING", ""])
def test_other_subjects_have_no_verb(subject: str) -> None:
    assert adr32.verb_of(subject) == ""
