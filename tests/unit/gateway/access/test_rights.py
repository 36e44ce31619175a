"""What is not configured is refused; the gateway's certificate allows no more than its clients together may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bus.audit import AccessEntry
from bus.telemetry.counters import Counters
from gateway.access.build import open_access
from gateway.access.protocol import (
    AccessRecord,
    Client,
    Credentials,
    Deed,
    Forbidden,
    Proof,
    TooMany,
)
from gateway.access.rights import mesh_rights
from schemas.clock import FakeClock
from schemas.errors import Closed, ConfigurationError, ResourceExhausted, SubjectError
from schemas.gateway.access import AccessSection, ClientSection
from schemas.subjects import matches
from tests.unit.gateway.access.kit import SITE, Recorded, by_key, keyed, opened, runtime, section


async def test_a_client_publishes_only_what_it_may(tmp_path: Path) -> None:
    key, lab = keyed("lab", publish=["evt.north.result.*.*"])
    access = await opened(tmp_path, lab)
    client = await by_key(access, key)

    access.may_publish(client, "evt.north.result.final.7")
    for other in ("evt.north.order.placed.7", "evt.south.result.final.7", "evt.north.result.final"):
        with pytest.raises(Forbidden, match="publish"):
            access.may_publish(client, other)


@pytest.mark.parametrize(
    "subject", ["evt.north.result.*.7", "evt.north.result.>", "evt..x", "", "EVT.x"]
)
async def test_only_a_subject_can_be_published(tmp_path: Path, subject: str) -> None:
    key, lab = keyed("lab", publish=["evt.>"])
    access = await opened(tmp_path, lab)
    client = await by_key(access, key)

    with pytest.raises(SubjectError):
        access.may_publish(client, subject)


@pytest.mark.parametrize(
    "pattern",
    [
        "evt.north.>",
        "evt.*.result.final.*",
        "evt.north.*.final.*",
        "evt.north.result.>",
        "evt.north.result.*.>",
        "evt.north.result.final.7.x",
        ">",
        "*.north.result.final.*",
        "audit.north.access",
        "dlq.evt-north.lab",
    ],
)
async def test_a_pattern_that_reaches_beyond_is_refused(tmp_path: Path, pattern: str) -> None:
    key, lab = keyed("lab", subscribe=["evt.north.result.*.*", "evt.north.order.placed.>"])
    access = await opened(tmp_path, lab)
    client = await by_key(access, key)

    access.may_subscribe(client, "evt.north.result.final.*")
    access.may_subscribe(client, "evt.north.order.placed.>")
    with pytest.raises(Forbidden, match="subscribe"):
        access.may_subscribe(client, pattern)


async def test_a_client_calls_only_what_it_may(tmp_path: Path) -> None:
    key, lab = keyed("lab", call=["beds/free", "lab/*", "orders.v2/place"])
    access = await opened(tmp_path, lab)
    client = await by_key(access, key)

    for service, method in (
        ("beds", "free"), ("beds.v3", "free"), ("lab", "any"), ("orders.v2", "place"),
    ):  # fmt: skip
        access.may_call(client, service, method)
    for service, method in (
        ("beds", "close"), ("orders", "place"), ("orders.v3", "place"), ("labs", "any"),
    ):  # fmt: skip
        with pytest.raises(Forbidden, match="call"):
            access.may_call(client, service, method)
    for service, method in (("lab", "*"), ("*", "free"), ("lab.v1.x", ">"), ("", "")):
        with pytest.raises(SubjectError):
            access.may_call(client, service, method)


async def test_fhir_rights_are_those_of_the_scopes(tmp_path: Path) -> None:
    key, lab = keyed("lab", fhir=["system/Patient.rs", "system/Observation.write"])
    access = await opened(tmp_path, lab)
    client = await by_key(access, key)

    access.may_fhir(client, "Patient", "r")
    access.may_fhir(client, "Observation", "c")
    for of_type, deed in (
        ("Patient", "u"), ("Observation", "r"), ("Encounter", "r"), ("*", "r"), ("*", "s"),
        ("Patient", "rs"), ("Patient", ""), ("Patient", "x"), ("patient", "r"),
    ):  # fmt: skip
        with pytest.raises(Forbidden, match="fhir"):
            access.may_fhir(client, of_type, deed)


async def test_all_types_are_asked_for_by_a_star(tmp_path: Path) -> None:
    key, lab = keyed("lab", fhir=["system/*.rs"])
    access = await opened(tmp_path, lab)
    client = await by_key(access, key)

    access.may_fhir(client, "*", "s")
    access.may_fhir(client, "Patient", "s")
    with pytest.raises(Forbidden):
        access.may_fhir(client, "*", "c")


async def test_operators_do_only_what_they_may(tmp_path: Path) -> None:
    key, lab = keyed("lab", operate=["view"])
    access = await opened(tmp_path, lab)
    client = await by_key(access, key)

    access.may_operate(client, "view")
    for deed in ("unmask", "replay", "", "delete"):
        with pytest.raises(Forbidden, match="operate"):
            access.may_operate(client, deed)


async def test_one_client_has_nothing_of_another(tmp_path: Path) -> None:
    everything: dict[str, Any] = {
        "publish": ["evt.>"], "subscribe": ["evt.>"], "call": ["*/*"], "fhir": ["system/*.cruds"],
        "operate": ["view", "unmask", "replay"],
    }  # fmt: skip
    _, rich = keyed("rich", **everything)
    key, poor = keyed("poor")
    access = await opened(tmp_path, rich, poor)
    client = await by_key(access, key)

    with pytest.raises(Forbidden):
        access.may_publish(client, "evt.north.result.final.7")
    with pytest.raises(Forbidden):
        access.may_subscribe(client, "evt.north.result.final.7")
    with pytest.raises(Forbidden):
        access.may_call(client, "lab", "any")
    with pytest.raises(Forbidden):
        access.may_fhir(client, "Patient", "r")
    with pytest.raises(Forbidden):
        access.may_operate(client, "view")


async def test_a_name_that_is_not_configured_has_no_rights(tmp_path: Path) -> None:
    _, lab = keyed("lab", publish=["evt.>"])
    access = await opened(tmp_path, lab)
    stranger = Client(
        name="stranger", proof=Proof.SESSION, scopes=("mesh/publish", "system/*.cruds")
    )

    with pytest.raises(Forbidden):
        access.may_publish(stranger, "evt.north.result.final.7")
    with pytest.raises(Forbidden):
        access.may_fhir(stranger, "Patient", "r")


async def test_a_client_that_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    clock = FakeClock()
    key, lab = keyed("lab", rate=2.0, burst=3)
    other, ris = keyed("ris")
    access = await opened(tmp_path, lab, ris, clock=clock)
    client = await by_key(access, key)

    for _ in range(3):
        access.admit(client)
    with pytest.raises(TooMany, match="rate = 2") as refusal:
        access.admit(client)
    assert refusal.value.retry_after_s == pytest.approx(0.5)
    for _ in range(100):
        access.admit(await by_key(access, other))
    clock.advance(0.5)
    access.admit(client)


async def test_refusals_are_counted(tmp_path: Path) -> None:
    key, lab = keyed("lab")
    around = runtime(tmp_path)
    access = await open_access(section(client=[lab]), around)
    counters: Counters = around.counters

    with pytest.raises(Forbidden):
        access.may_publish(await by_key(access, key), "evt.north.result.final.7")

    assert counters.get("access_refused", who="lab", reason="forbidden") == 1


async def test_a_gateway_without_clients_lets_whoever_uses_this_machine_do_everything(
    tmp_path: Path,
) -> None:
    access = await opened(tmp_path)
    client = await access.identify(Credentials(purpose="TREAT"))

    assert (client.name, client.proof, client.purpose) == ("anonymous", Proof.NOTHING, "TREAT")
    assert access.is_anonymous
    access.may_publish(client, "evt.north.result.final.7")
    access.may_subscribe(client, "evt.north.>")
    access.may_call(client, "lab.v9", "any")
    access.may_fhir(client, "*", "d")
    access.may_operate(client, "replay")
    with pytest.raises(Forbidden):
        access.may_subscribe(client, "audit.north.>")


@pytest.mark.parametrize("listen", ["0.0.0.0:80", "10.0.0.1:80", "gateway.example:80", "[::]:80"])
@pytest.mark.parametrize("key", ["listen", "grpc"])
async def test_a_gateway_without_clients_listens_on_this_machine_only(
    tmp_path: Path, listen: str, key: str
) -> None:
    keys: dict[str, Any] = {"listen": listen} if key == "listen" else {"grpc": {"listen": listen}}

    with pytest.raises(ConfigurationError, match="address of this machine"):
        await open_access(section(**keys), runtime(tmp_path))


@pytest.mark.parametrize("listen", ["127.0.0.1:80", "127.9.9.9:80", "[::1]:80", "localhost:80"])
async def test_addresses_of_this_machine(tmp_path: Path, listen: str) -> None:
    assert (await open_access(section(listen=listen), runtime(tmp_path))).is_anonymous


async def test_clients_that_could_not_be_told_apart_stop_the_start(tmp_path: Path) -> None:
    _, lab = keyed("lab", certificates=["a.example"])
    for twin in (
        {**lab, "name": "ris", "certificates": []},
        {"name": "lab"},
        {"name": "ris", "certificates": ["a.example"]},
    ):
        with pytest.raises(ConfigurationError, match="told apart"):
            await open_access(section(client=[lab, twin]), runtime(tmp_path))


@pytest.mark.parametrize(
    "rights",
    [
        {"publish": ["dlq.evt-north.lab"]},
        {"publish": ["ctl.north.replay.lab"]},
        {"subscribe": ["audit.north.>"]},
        {"subscribe": [">"]},
        {"publish": ["evt..x"]},
        {"call": ["lab"]},
        {"call": ["lab/a/b"]},
        {"call": ["lab/*.>"]},
        {"fhir": ["system/Patient"]},
        {"fhir": ["system/Patient.rs?_id=1"]},
        {"operate": ["everything"]},
        {"name": "anonymous"},
    ],
)
def test_rights_that_make_no_sense_stop_the_start(rights: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ClientSection.model_validate({"name": "lab", **rights})


async def test_a_record_says_who_did_what_and_why(tmp_path: Path) -> None:
    events, clock = Recorded(), FakeClock()
    key, lab = keyed("lab")
    access = await opened(tmp_path, lab, events=events, clock=clock)
    for purpose in ("TREAT", "x\nforged", "p" * 33):
        client = await access.identify(Credentials(api_key=key.text, purpose=purpose))
        await access.record(
            AccessRecord(client=client, deed=Deed.READ, what="Patient/1", status=200, remote="::1")
        )
    await access.drain()

    first, *rest = events.entries
    assert first == AccessEntry(
        at_ms=clock.now_ms(), client="lab", proof="api_key", deed="read", what="Patient/1",
        status=200, purpose="TREAT", remote="::1",
    )  # fmt: skip
    assert [one.purpose for one in rest] == ["", ""]  # no code: nothing to put into a record


async def test_what_cannot_be_recorded_is_said(tmp_path: Path) -> None:
    events = Recorded()
    events.failure = ResourceExhausted("the stream is full")
    key, lab = keyed("lab")
    access = await opened(tmp_path, lab, events=events)
    record = AccessRecord(client=await by_key(access, key), deed=Deed.READ, what="Patient/1")

    with pytest.raises(ResourceExhausted):
        await access.record(record)
    await access.stop()
    with pytest.raises(Closed):
        await access.record(record)


async def test_what_is_remembered_of_rights_is_bounded(tmp_path: Path) -> None:
    key, lab = keyed("lab", publish=["evt.north.>"])
    access = await opened(tmp_path, lab)
    client = await by_key(access, key)
    matcher = access._rights["lab"].publish

    for number in range(2000):
        access.may_publish(client, f"evt.north.result.final.{number}")
        with pytest.raises(Forbidden):
            access.may_publish(client, f"evt.south.result.final.{number}")
        access.may_publish(client, f"evt.north.result.final.{number}")

    assert len(matcher._covered) <= 512


@pytest.mark.parametrize(
    "access",
    [
        {"mtls_listen": "127.0.0.1:0"},
        {"mtls_authority": "ca.pem"},
        {"issuer": [{"issuer": "x", "audience": ["y"], "jwks": "z"}] * 2},
    ],
)
def test_settings_that_contradict_each_other_stop_the_start(access: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AccessSection.model_validate(access)


@pytest.mark.parametrize(
    "keys", [{"jwks_url": "http://x.example/jwks"}, {"jwks": "f", "jwks_url": "https://x.example/"}]
)
def test_keys_of_a_client_come_from_one_place_and_by_https(keys: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        ClientSection.model_validate({"name": "lab", **keys})


def test_the_gateways_certificate_allows_what_its_clients_may_together_and_no_more() -> None:
    _, lab = keyed(
        "lab", publish=["evt.north.result.*.*"], call=["beds/free"], fhir=["system/*.rs"]
    )
    _, ris = keyed("ris", subscribe=["evt.north.order.>", "evt.north.order.placed.*"])

    rights = mesh_rights(section(client=[lab, ris]), SITE)

    assert set(rights.publish) == {
        "audit.north.access",
        "evt.north.result.*.*",
        "svc.north.beds.*.>",
        "svc.north.*.*.rpc.interaction",
        "svc.north.*.*.i.*.interaction",
    }
    assert set(rights.subscribe) == {"evt.north.order.>", "ctl.north.answers.gateway"}


def test_operators_rights_are_in_the_gateways_certificate() -> None:
    _, viewer = keyed("viewer", operate=["view"])
    _, replayer = keyed("replayer", operate=["replay"])

    views = mesh_rights(section(client=[viewer]), SITE)
    replays = mesh_rights(section(client=[replayer]), SITE)

    assert not any(matches(one, "ctl.north.replay.lab") for one in views.publish)
    assert any(matches(one, "dlq.evt-north.lab") for one in views.subscribe)
    assert any(matches(one, "ctl.north.replay.lab") for one in replays.publish)


def test_nobody_at_a_gateway_reads_access_records() -> None:
    _, all_of_it = keyed("rich", subscribe=["evt.>"], operate=["view", "unmask", "replay"])

    for clients in ([], [all_of_it]):
        rights = mesh_rights(section(client=clients), SITE)
        assert not any(matches(one, "audit.north.access") for one in rights.subscribe)
