"""Wrong settings stop the start, and say which and why."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from adapters.hl7v2 import MLLP_CLIENT, MLLP_SERVER
from adapters.hl7v2.config import (
    ClientTls,
    MllpClientConfig,
    MllpServerConfig,
    ServerTls,
    split_address,
)
from adapters.hl7v2.tls import client_context, server_context
from schemas import subjects
from schemas.errors import ConfigurationError
from tests.unit.adapters.parts import SITE

SERVER = {"name": "emr-in", "kind": "hl7v2.mllp-server", "listen": "0.0.0.0:2575"}
CLIENT = {
    "name": "his-out",
    "kind": "hl7v2.mllp-client",
    "connect": "his.example:2575",
    "subscribe": "evt.north.raw.hl7v2.>",
}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"listen": "2575"}, "host:port"),
        ({"listen": "0.0.0.0:99999"}, "host:port"),
        ({"ack": "sent"}, "stored"),
        ({"ack": "applied"}, "receipts_from"),
        ({"receipts_from": ["his-out"]}, "receipts_from"),
        ({"allow": ["10.0.0.0/40"]}, "10.0.0.0/40"),
        ({"charset": "KLINGON"}, "not known"),
        ({"max_mesage_bytes": 5000}, "max_mesage_bytes"),
        ({"max_message_bytes": 1}, "1024"),
        ({"name": "Emr In"}, "name"),
    ],
)
def test_wrong_server_settings_are_named(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        MllpServerConfig.model_validate(SERVER | settings)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"connect": "his.example"}, "host:port"),
        ({"subscribe": "evt..x"}, "token"),
        ({"subscribe": []}, "subscribe"),
        ({"filter": "MSH-9.1 in ('ADT'"}, "filter"),
        ({"filter": "import os"}, "filter"),
        ({"lanes": 0}, "lanes"),
        ({"tls": {"cert": "a.pem"}}, "belong together"),
        ({"retry": {"max_attempts": -1}}, "max_attempts"),
    ],
)
def test_wrong_client_settings_are_named(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        MllpClientConfig.model_validate(CLIENT | settings)


def test_addresses_of_both_families_are_split() -> None:
    assert split_address("[::1]:2575") == ("::1", 2575)
    assert split_address(":2575") == ("", 2575)


def test_one_pattern_may_stand_alone() -> None:
    assert MllpClientConfig.model_validate(CLIENT).subscribe == ("evt.north.raw.hl7v2.>",)


def test_rights_cover_what_the_adapters_do_and_no_more() -> None:
    server = MllpServerConfig.model_validate(
        SERVER | {"ack": "delivered", "receipts_from": ["his-out"]}
    )
    rights = MLLP_SERVER.rights(server, SITE)
    event = subjects.event(SITE, subjects.Domain.RAW, "hl7v2", 63)
    receipt = subjects.receipt(SITE, b"\1" * 16, "his-out")
    assert any(subjects.matches(p, event) for p in rights.publish)
    assert any(subjects.matches(p, receipt) for p in rights.subscribe)
    assert not any(subjects.matches(p, event) for p in rights.subscribe)
    client = MLLP_CLIENT.rights(MllpClientConfig.model_validate(CLIENT), SITE)
    assert any(subjects.matches(p, event) for p in client.subscribe)
    assert any(subjects.matches(p, receipt) for p in client.publish)
    assert not any(subjects.matches(p, event) for p in client.publish)


def test_addresses_are_what_will_be_listened_on() -> None:
    assert MLLP_SERVER.addresses(MllpServerConfig.model_validate(SERVER)) == ("0.0.0.0:2575",)
    assert MLLP_CLIENT.addresses(MllpClientConfig.model_validate(CLIENT)) == ()


def test_unusable_certificates_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(ConfigurationError, match=r"emr-in: tls\.cert .*missing\.pem"):
        server_context(ServerTls(cert=missing, key=missing), name="emr-in")
    with pytest.raises(ConfigurationError, match=r"his-out: tls\.ca .*missing\.pem"):
        client_context(ClientTls(ca=missing), name="his-out")
