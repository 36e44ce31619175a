"""`FhirClient` against a FHIR server: every interaction, pages that stay at home, errors with types and bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.fhir import FhirClient
from adapters.fhir.codec.outcome import OutcomeIssue
from adapters.fhir.errors import (
    AnswerTooLarge,
    Busy,
    Conflict,
    CredentialsRefused,
    ForeignLink,
    Gone,
    NoAnswer,
    NotFound,
    NotSent,
    Redirected,
    StatusError,
    TooManyPages,
    UnreadableAnswer,
)
from adapters.fhir.peers import ClientTls, Server
from bus.clock import SystemClock
from schemas.errors import Closed, ConfigurationError, Unavailable
from tests.integration.adapters.fhir.kit import SYSTEM, bundle, observation, patient
from tests.integration.adapters.hl7v2.certificates import TestAuthority
from tests.peers.fhir_server import Fault, FhirServer, fhir_server
from tests.ports import free_port


@pytest.fixture
async def server() -> AsyncIterator[FhirServer]:
    async with fhir_server() as one:
        yield one


@pytest.fixture
async def fhir(server: FhirServer) -> AsyncIterator[FhirClient]:
    async with FhirClient(Server(base=server.base), clock=SystemClock()) as one:
        yield one


async def test_resource_lives_and_dies(fhir: FhirClient) -> None:
    assert b"CapabilityStatement" in (await fhir.capabilities()).body
    made = await fhir.update(patient())
    assert (made.status, made.version_id) == (201, "1")
    assert made.location.endswith("Patient/p1/_history/1")
    await fhir.update(patient(family="OTHER"), if_match="1")
    with pytest.raises(Conflict) as caught:
        await fhir.update(patient(family="LATE"), if_match="1")
    assert (caught.value.status, caught.value.retryable) == (412, True)
    assert caught.value.issues == (OutcomeIssue("error", "conflict"),)
    assert (await fhir.read("Patient", "p1")).body == patient(family="OTHER")
    assert (await fhir.vread("Patient", "p1", "1")).body == patient()
    await fhir.delete("Patient", "p1")
    with pytest.raises(Gone):
        await fhir.read("Patient", "p1")
    with pytest.raises(NotFound):
        await fhir.read("Patient", "p2")


async def test_conditions_find_what_is_there(fhir: FhirClient, server: FhirServer) -> None:
    body = patient("", identifier="A|B")
    where = [("identifier", f"{SYSTEM}|A\\|B")]
    assert (await fhir.create(body, if_none_exist=where)).status == 201
    assert (await fhir.create(body, if_none_exist=where)).status == 200
    assert (await fhir.update_where(body, where)).status == 200
    await fhir.create(body)
    with pytest.raises(Conflict):
        await fhir.update_where(body, where)
    assert len(server.store.current("Patient")) == 2
    with pytest.raises(ValueError, match="condition"):
        await fhir.update_where(body, [])


async def test_transaction_is_posted_to_the_base(fhir: FhirClient, server: FhirServer) -> None:
    body = bundle("transaction", ("PUT Patient/p1", patient()))
    assert (await fhir.transaction(body)).status == 200
    assert server.seen[-1].body == body


async def test_search_follows_pages_and_keeps_bytes(fhir: FhirClient) -> None:
    bodies = [observation(f"o{number}", value="1.500") for number in range(7)]
    for body in bodies:
        await fhir.update(body)
    parameters = [("status", "final"), ("_count", "3")]
    pages = [page async for page in fhir.search("Observation", parameters)]
    assert [len(page.resources) for page in pages] == [3, 3, 1]
    assert [body for page in pages for body in page.resources] == bodies
    assert {page.total for page in pages} == {7}
    with pytest.raises(TooManyPages):
        _ = [page async for page in fhir.search("Observation", parameters, max_pages=2)]


@pytest.mark.parametrize(
    "elsewhere",
    [
        "http://127.0.0.1:1/fhir",
        "https://evil.example/fhir",
        "http://127.0.0.1/fhir",
        "//evil/fhir",
    ],
)
async def test_page_elsewhere_is_not_followed(
    fhir: FhirClient, server: FhirServer, elsewhere: str
) -> None:
    for number in range(3):
        await fhir.update(observation(f"o{number}"))
    server.next_base = elsewhere
    with pytest.raises(ForeignLink):
        _ = [page async for page in fhir.search("Observation", [("_count", "2")])]
    assert not [seen for seen in server.seen if "_offset" in seen.query]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(status=400), StatusError),
        (Fault(status=403), StatusError),
        (Fault(status=401), CredentialsRefused),
        (Fault(status=302, headers=(("location", "http://evil.example/"),)), Redirected),
        (Fault(status=429), Busy),
        (Fault(status=500), Busy),
        (Fault(status=501), StatusError),
        (Fault(drop=True), NoAnswer),
        (Fault(hang=True), NoAnswer),
        (Fault(status=200, body=b"x" * 2000), AnswerTooLarge),
        (Fault(status=200, headers=(("content-encoding", "gzip"),)), UnreadableAnswer),
    ],
)
async def test_failures_have_types(
    server: FhirServer, fault: Fault, error: type[Exception]
) -> None:
    settings = Server(base=server.base, request_timeout_s=0.3, max_answer_bytes=1024)
    server.faults.append(fault)
    async with FhirClient(settings, clock=SystemClock()) as fhir:
        with pytest.raises(error) as caught:
            await fhir.read("Patient", "p1")
        assert "p1" not in str(caught.value)
        assert caught.value.__cause__ is None


async def test_server_that_is_not_there_has_seen_nothing() -> None:
    settings = Server(base=f"http://127.0.0.1:{free_port()}")
    fhir = FhirClient(settings, clock=SystemClock())
    with pytest.raises(Closed):
        await fhir.read("Patient", "p1")
    async with fhir:
        with pytest.raises(NotSent) as caught:
            await fhir.read("Patient", "p1")
    assert isinstance(caught.value, Unavailable)


@pytest.mark.parametrize("bad", ["../x", "a/b", "", "x" * 65, "p1?x"])
async def test_ids_cannot_leave_their_place(fhir: FhirClient, server: FhirServer, bad: str) -> None:
    with pytest.raises(ValueError):
        await fhir.read("Patient", bad)
    with pytest.raises(ValueError):
        await fhir.read(bad, "p1")
    assert not server.seen


async def test_tls_verifies_both_ends(tmp_path: Path) -> None:
    from adapters.fhir.peers import ServerTls
    from adapters.fhir.tls import server_context

    authority, stranger = TestAuthority(tmp_path), TestAuthority(tmp_path, "stranger")
    own, client = authority.sign("server"), authority.sign("client")
    server = FhirServer()
    listening = ServerTls(cert=own.cert, key=own.key, client_ca=authority.ca)
    await server.start(ssl=server_context(listening, name="test"))
    base = server.base.replace("http:", "https:")
    try:
        good = ClientTls(ca=authority.ca, cert=client.cert, key=client.key)
        async with FhirClient(Server(base=base, tls=good), clock=SystemClock()) as fhir:
            assert (await fhir.update(patient())).status == 201
        anonymous, distrustful = ClientTls(ca=authority.ca), ClientTls(ca=stranger.ca)
        for wrong in (anonymous, distrustful):
            async with FhirClient(Server(base=base, tls=wrong), clock=SystemClock()) as fhir:
                with pytest.raises(Unavailable):
                    await fhir.update(patient())
        assert len(server.seen) == 1
    finally:
        await server.stop()


async def test_secret_that_is_missing_stops_the_start(tmp_path: Path) -> None:
    auth = {"method": "bearer", "secret_file": tmp_path / "none"}
    settings = Server.model_validate({"base": "http://127.0.0.1:1", "auth": auth})
    with pytest.raises(ConfigurationError, match="secret_file"):
        FhirClient(settings, clock=SystemClock()).open()
