"""Settings that would be unsafe, or that contradict each other, stop the start."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from adapters.fhir import CLIENT, RECEIVER
from adapters.fhir.server import FhirReceiver
from schemas.errors import ConfigurationError
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import SITE, runtime

OUT: dict[str, Any] = {
    "name": "out",
    "kind": "fhir.client",
    "base": "https://fhir.example/r4/",
    "subscribe": "evt.north.patient.>",
}
IN: dict[str, Any] = {"name": "in", "kind": "fhir.receiver", "listen": "127.0.0.1:0"}
SECRET = {"secret_env": "X"}


def test_base_has_no_slash_at_its_end() -> None:
    assert CLIENT.config.model_validate(OUT).base == "https://fhir.example/r4"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"base": "fhir.example"}, "https://"),
        ({"base": "ftp://fhir.example"}, "https://"),
        ({"base": "https://u:p@fhir.example"}, "auth"),
        ({"base": "https://fhir.example?x=1"}, "query"),
        ({"auth": {"method": "bearer"}}, "secret_env or secret_file"),
        ({"auth": {"method": "bearer", **SECRET, "secret_file": "f"}}, "one of them"),
        ({"auth": {"method": "basic", **SECRET}}, "needs user"),
        ({"auth": {"method": "client-credentials", "user": "u", **SECRET}}, "token_url"),
        ({"auth": {"method": "bearer", **SECRET, "token_url": "https://a.example"}}, "token_url"),
        ({"base": "http://fhir.example", "auth": {"method": "bearer", **SECRET}}, "in clear"),
        ({"tls": {"cert": "c.pem"}}, "belong together"),
        (
            {"interactions": {"patient": "update"}},
            'no type of FHIR resource; did you mean "Patient"',
        ),
        ({"interactions": {"Pateint": "update"}}, 'did you mean "Patient"'),
        ({"interactions": {"Zzz": "update"}}, "no type of FHIR resource"),
        ({"interactions": {"Patient": "upsert"}}, "conditional-update"),
        ({"subscribe": "Evt.x"}, "not allowed"),
        ({"validation": {"mode": "strict"}}, "sample"),
        ({"filter": "Patient.gender ="}, "filter"),
        ({"filter": "Patient.birthDate < today()"}, "present"),
        ({"filter": "%tenant = 'a'"}, "variables"),
    ],
)
def test_wrong_ways_out_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        CLIENT.config.model_validate(OUT | settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"listen": "8443"}, "host:port"),
        ({"listen": "0.0.0.0:8443"}, "anybody"),
        ({"listen": ":8443"}, "anybody"),
        ({"listen": "0.0.0.0:8443", "token": SECRET}, "plain HTTP"),
        ({"listen": "0.0.0.0:8443", "tls": {"cert": "c", "key": "k"}}, "anybody"),
        ({"event": "raw"}, "domain"),
        ({"event": "nonsense.fhir"}, "domain"),
        ({"event_by_type": {"Patient": "Patient.changed"}}, "domain"),
        ({"event_by_type": {"Observaton": "result.reported"}}, 'did you mean "Observation"'),
        ({"path": "fhir"}, "pattern"),
        ({"allow": ["10.1.2.3/99"]}, "99"),
        ({"subscribe_to": ["Patient?"]}, "endpoint"),
    ],
)
def test_wrong_ways_in_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        RECEIVER.config.model_validate(IN | settings)


def test_rights_name_each_event_once() -> None:
    settings = {"event_by_type": {"Observation": "result.reported", "Task": "raw.fhir"}}
    config = RECEIVER.config.model_validate(IN | settings)
    assert RECEIVER.rights(config, SITE).publish == (
        "evt.north.raw.fhir.*",
        "evt.north.result.reported.*",
    )


def test_replicated_needs_a_cluster(tmp_path: Any) -> None:
    config = RECEIVER.config.model_validate(IN | {"ack": "replicated"})
    with pytest.raises(ConfigurationError, match="cluster"):
        FhirReceiver(config, runtime(MemoryEvents(), tmp_path))
