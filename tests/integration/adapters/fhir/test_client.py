"""The way out against a FHIR server over real sockets: bytes, truth, waiting, order, and nothing twice."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from adapters.contract import Condition
from adapters.fhir.codec.outcome import operation_outcome
from bus.events.protocol import Outcome, Rejected
from tests.integration.adapters.fhir.kit import (
    SYSTEM,
    bundle,
    event,
    fhir_client,
    observation,
    patient,
)
from tests.peers.fhir_server import Fault, FhirServer, fhir_server
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import DEADLINE_S, eventually, received


async def outcome(events: MemoryEvents, number: int = 1) -> Outcome:
    receipt = await events.await_receipt(
        number.to_bytes(16, "big"), "repository", timeout_s=DEADLINE_S
    )
    return receipt.outcome


def current(server: FhirServer, kind: str) -> list[bytes]:
    return [body for _, body in server.store.current(kind)]


async def test_body_arrives_byte_for_byte(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with fhir_server() as server, fhir_client(events, tmp_path, server.base):
        await events.publish(event(patient("p1")))
        assert await outcome(events) is Outcome.APPLIED
        assert current(server, "Patient") == [patient("p1")]
        assert (server.seen[0].method, server.seen[0].path) == ("PUT", "Patient/p1")
        assert server.seen[0].headers["content-type"] == "application/fhir+json"
        assert server.seen[0].headers["accept-encoding"] == "identity"


async def test_resource_without_id_is_updated_by_its_identifier(tmp_path: Path) -> None:
    events = MemoryEvents()
    odd = r"A|B, $1 ü%"
    async with fhir_server() as server, fhir_client(events, tmp_path, server.base):
        for number, family in enumerate(("FIRST", "SECOND"), 1):
            body = patient("", family=family, identifier=odd)
            await events.publish(event(body, number))
            assert await outcome(events, number) is Outcome.APPLIED
        assert current(server, "Patient") == [patient("", family="SECOND", identifier=odd)]


async def test_conditional_create_leaves_what_is_there(tmp_path: Path) -> None:
    events = MemoryEvents()
    settings = {"interactions": {"Patient": "conditional-create"}, "identifier_systems": [SYSTEM]}
    async with fhir_server() as server, fhir_client(events, tmp_path, server.base, **settings):
        for number, family in enumerate(("FIRST", "SECOND"), 1):
            await events.publish(event(patient("", family=family, identifier="7"), number))
            assert await outcome(events, number) is Outcome.APPLIED
        assert current(server, "Patient") == [patient("", family="FIRST", identifier="7")]


async def test_transaction_goes_to_the_base_and_message_to_its_operation(tmp_path: Path) -> None:
    events = MemoryEvents()
    transaction = bundle("transaction", ("PUT Patient/p1", patient()))
    message = b'{"resourceType":"Bundle","type":"message","entry":[]}'
    async with fhir_server() as server, fhir_client(events, tmp_path, server.base):
        await events.publish(event(transaction, 1))
        await events.publish(event(message, 2))
        assert await outcome(events, 1) is Outcome.APPLIED
        assert await outcome(events, 2) is Outcome.APPLIED
        assert [(s.path, s.body) for s in server.seen] == [
            ("", transaction),
            ("$process-message", message),
        ]
        assert current(server, "Patient") == [patient().strip()]


async def test_refusal_is_a_dead_letter_with_codes_and_without_words(tmp_path: Path) -> None:
    events = MemoryEvents()
    body = patient("p1").replace(b'"id": "p1"', b'"id": "p2"')
    quoted = json.dumps(
        {
            "resourceType": "OperationOutcome",
            "issue": [
                {"severity": "error", "code": "invalid", "diagnostics": "ZEBRAFISH born 19331122"},
                {
                    "severity": "error",
                    "code": "ZEBRAFISH of the ward",
                    "details": {"text": "QUOKKA"},
                },
            ],
        }
    ).encode()
    async with (
        fhir_server() as server,
        fhir_client(events, tmp_path, server.base) as (sender, own),
    ):
        server.faults.append(Fault(status=422, body=quoted))
        await events.publish(event(body))
        assert await outcome(events) is Outcome.REFUSED
        assert events.dead_letters[0][2] == "fhir_refused"
        assert events.receipts[(1).to_bytes(16, "big"), "repository"].answer == quoted
        assert len(server.seen) == 1
        assert sender.health().condition is Condition.HEALTHY
        told = repr(own.counters.snapshot()) + repr(sender.health())
        assert not [secret for secret in ("ZEBRAFISH", "QUOKKA", "19331122") if secret in told]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_busy_server_is_waited_for(tmp_path: Path, status: int) -> None:
    events = MemoryEvents()
    async with fhir_server() as server, fhir_client(events, tmp_path, server.base) as (_, own):
        server.faults.extend([Fault(status=status)] * 12)  # more than max_attempts
        await events.publish(event(patient()))
        assert await outcome(events) is Outcome.APPLIED
        assert len(server.seen) == 13
        assert own.counters.get("server_busy", reason=f"http_{status}") == 12


async def test_retry_after_is_honoured_and_the_circuit_shows_it(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with fhir_server() as server, fhir_client(events, tmp_path, server.base) as (sender, _):
        server.faults.append(Fault(status=429, headers=(("retry-after", "1"),)))
        loop = asyncio.get_running_loop()
        await events.publish(event(patient()))
        await server.until(lambda: server.seen)
        first_s = loop.time()
        await eventually(lambda: "answered 429" in sender.health().detail, what="health tells")
        assert "circuit open, next look in" in sender.health().detail
        assert sender.health().condition is Condition.DEGRADED
        assert await outcome(events) is Outcome.APPLIED
        assert loop.time() - first_s > 0.9
        assert len(server.seen) == 2
        assert sender.health().condition is Condition.HEALTHY


async def test_conflict_counts_attempts(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with fhir_server() as server, fhir_client(events, tmp_path, server.base):
        server.always = Fault(status=409)
        await events.publish(event(patient()))
        assert await outcome(events) is Outcome.REFUSED
        assert len(server.seen) == 8
        assert events.dead_letters[0][2] == "fhir_conflict"


@pytest.mark.parametrize(
    "fault",
    [Fault(drop=True), Fault(drop=True, work=True), Fault(hang=True), Fault(hang=True, work=True)],
    ids=["dropped", "worked and dropped", "silent", "worked and silent"],
)
@pytest.mark.parametrize("condition", ["conditional-update", "conditional-create"])
async def test_silence_never_makes_a_second_resource(
    tmp_path: Path, fault: Fault, condition: str
) -> None:
    events = MemoryEvents()
    settings = {"interactions": {"Patient": condition}, "request_timeout_s": 0.3}
    body = patient("", identifier="7")
    async with fhir_server() as server, fhir_client(events, tmp_path, server.base, **settings):
        server.faults.append(fault)
        await events.publish(event(body))
        assert await outcome(events) is Outcome.APPLIED
        assert current(server, "Patient") == [body]
        assert len(server.seen) == 2


async def test_unrepeatable_content_is_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with fhir_server() as server, fhir_client(events, tmp_path, server.base):
        await events.publish(event(patient("")))
        assert await outcome(events) is Outcome.REFUSED
        assert events.dead_letters[0][2] == "fhir_unidentified"
        assert not server.seen


async def test_unrepeatable_content_is_not_sent_again_after_silence(tmp_path: Path) -> None:
    events = MemoryEvents()
    settings = {"unrepeatable": "send"}
    async with fhir_server() as server, fhir_client(events, tmp_path, server.base, **settings):
        server.faults.append(Fault(drop=True, work=True))
        await events.publish(event(patient(""), 1))
        assert await outcome(events, 1) is Outcome.REFUSED
        assert events.dead_letters[0][2] == "fhir_outcome_unknown"
        server.faults.append(Fault(status=503))  # said to have done nothing
        await events.publish(event(patient("", family="OTHER"), 2))
        assert await outcome(events, 2) is Outcome.APPLIED
        assert current(server, "Patient") == [patient(""), patient("", family="OTHER")]


async def test_order_holds_for_each_patient_while_others_go_on(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with (
        fhir_server() as server,
        fhir_client(events, tmp_path, server.base, lanes=4) as (_, own),
    ):
        server.faults.extend([Fault(status=503), Fault(drop=True, work=True), Fault(status=429)])
        number = 0
        for round_ in range(20):
            for partition in range(4):
                number += 1
                body = patient(f"p{partition}", family=f"ROUND{round_}")
                await events.publish(event(body, number, partition=partition))
        await events.until(lambda: len(events.receipts) == 80)
        for partition in range(4):
            versions = server.store.versions["Patient", f"p{partition}"]
            once = list(dict.fromkeys(versions))
            assert once == [patient(f"p{partition}", family=f"ROUND{r}") for r in range(20)]
        assert own.counters.get("resource_delivered") == 80


async def test_rate_and_concurrency_are_bounded(tmp_path: Path) -> None:
    events = MemoryEvents()
    settings = {"lanes": 3, "requests_per_second": 20}
    async with (
        fhir_server() as server,
        fhir_client(events, tmp_path, server.base, **settings) as (_, own),
    ):
        server.gate = asyncio.Event()
        for number in range(1, 31):
            await events.publish(event(patient(f"p{number}"), number, partition=number))
        await server.until(lambda: server.under_way == 3)
        server.gate.set()
        await events.until(lambda: len(events.receipts) == 30)
        assert server.most_under_way == 3
        assert own.counters.get("request_delayed", reason="requests_per_second") > 0


async def test_client_credentials_are_fetched_once_and_again_when_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = MemoryEvents()
    monkeypatch.setenv("FHIR_SECRET", "s3cret")
    async with fhir_server(token="unknown yet") as server:
        auth = {
            "method": "client-credentials",
            "user": "medmesh",
            "secret_env": "FHIR_SECRET",
            "token_url": f"{server.base}/token",
        }
        async with fhir_client(events, tmp_path, server.base, auth=auth, lanes=4):
            for number in range(1, 9):
                await events.publish(event(patient(f"p{number}"), number, partition=number))
            await events.until(lambda: len(events.receipts) == 8)
            assert server.tokens_given == 1
            server.token = "replaced"
            await events.publish(event(patient("p9"), 9))
            assert await outcome(events, 9) is Outcome.APPLIED
            assert server.tokens_given == 2


async def test_wrong_token_waits_until_the_file_holds_the_right_one(tmp_path: Path) -> None:
    events = MemoryEvents()
    secret = tmp_path / "token"
    secret.write_text("old\n")
    auth = {"method": "bearer", "secret_file": secret}
    async with (
        fhir_server(token="new") as server,
        fhir_client(events, tmp_path, server.base, auth=auth) as (sender, _),
    ):
        await events.publish(event(patient()))
        await eventually(lambda: "answered 401" in sender.health().detail, what="health tells")
        secret.unlink()
        await eventually(lambda: "secret_file" in sender.health().detail, what="health tells why")
        assert not events.dead_letters
        secret.write_text("new\n")
        assert await outcome(events) is Outcome.APPLIED


async def test_redirect_is_not_followed(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with (
        fhir_server() as other,
        fhir_server() as server,
        fhir_client(events, tmp_path, server.base) as (sender, _),
    ):
        server.faults.append(Fault(status=307, headers=(("location", f"{other.base}/Patient/p1"),)))
        await events.publish(event(patient()))
        assert await outcome(events) is Outcome.APPLIED
        assert not other.seen
        assert sender.health().condition is Condition.HEALTHY


async def test_batch_that_failed_inside_is_no_success(tmp_path: Path) -> None:
    events = MemoryEvents()
    batch = bundle("batch", ("PUT Patient/other", patient()))
    async with fhir_server() as server, fhir_client(events, tmp_path, server.base):
        await events.publish(event(batch))
        assert await outcome(events) is Outcome.REFUSED
        assert events.dead_letters[0][2] == "fhir_refused"


async def test_what_is_not_fhir_passes_by_and_what_is_broken_is_refused(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with fhir_server() as server, fhir_client(events, tmp_path, server.base) as (_, own):
        await events.publish(event(b"MSH|^~\\&|", 1, type="hl7v2/ADT^A01"))
        await events.publish(event(b"{", 2))
        await events.publish(event(b'{"resourceType":"Bundle","type":"searchset"}', 3))
        assert await outcome(events, 2) is Outcome.REFUSED
        assert await outcome(events, 3) is Outcome.REFUSED
        assert [letter[2] for letter in events.dead_letters] == [
            "fhir_unreadable",
            "fhir_undeliverable",
        ]
        assert own.counters.get("event_passed_by", reason="content_type") == 1
        assert not server.seen


async def test_long_answer_does_not_hide_that_it_was_a_success(tmp_path: Path) -> None:
    events = MemoryEvents()
    settings = {"max_answer_bytes": 1024}
    async with fhir_server() as server, fhir_client(events, tmp_path, server.base, **settings):
        server.faults.append(Fault(status=200, body=b"x" * 5000, work=True))
        await events.publish(event(observation("o1")))
        assert await outcome(events) is Outcome.APPLIED
        assert len(server.seen) == 1


async def test_filter_lets_through_what_it_says_and_hides_nothing(tmp_path: Path) -> None:
    events = MemoryEvents()
    settings = {"filter": "Observation.value.ofType(Quantity).value > 1.0", "lanes": 1}
    bodies = [
        observation("o1", value="0.9"),
        observation("o2", value="1.10"),
        patient(),
        b"[]",
        observation("o3", value="2"),
    ]
    async with (
        fhir_server() as server,
        fhir_client(events, tmp_path, server.base, **settings) as (_, own),
    ):
        for number, body in enumerate(bodies, 1):
            await events.publish(event(body, number))
        assert await outcome(events, 5) is Outcome.APPLIED
        assert current(server, "Observation") == [bodies[1], bodies[4]]
        assert [letter[2] for letter in events.dead_letters] == ["fhir_filter_undecided"]
        assert own.counters.get("filter_undecided") == 1


@pytest.mark.parametrize("status", [400, 403, 404, 405, 410, 413, 415, 422, 451, 501])
async def test_refusals_are_final_and_name_their_codes(tmp_path: Path, status: int) -> None:
    body = operation_outcome("required", "ZEBRAFISH", severity="fatal")
    async with (
        fhir_server() as server,
        fhir_client(MemoryEvents(), tmp_path, server.base) as (sender, _),
    ):
        server.faults.append(Fault(status=status, body=body))
        with pytest.raises(Rejected, match=f"{status}.*: fatal/required") as caught:
            await sender.deliver(received(patient(), type="application/fhir+json"))
        assert "ZEBRAFISH" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert len(server.seen) == 1


async def test_fault_of_the_server_may_count_as_an_attempt(tmp_path: Path) -> None:
    events = MemoryEvents()
    settings = {"on_server_fault": "retry"}
    async with fhir_server() as server, fhir_client(events, tmp_path, server.base, **settings):
        server.faults.extend([Fault(status=500)] * 8)
        await events.publish(event(patient("p1"), 1))
        assert await outcome(events, 1) is Outcome.REFUSED
        assert events.dead_letters[0][2] == "fhir_server_failed"
        await events.publish(event(patient("p2"), 2))
        assert await outcome(events, 2) is Outcome.APPLIED


@pytest.mark.parametrize(
    ("code", "result", "requests"),
    [("ok", "applied", 1), ("transient-error", "refused", 8), ("fatal-error", "refused", 1)],
)
async def test_answer_to_a_message_is_read(
    tmp_path: Path, code: str, result: str, requests: int
) -> None:
    events = MemoryEvents()
    header = json.dumps({"resourceType": "MessageHeader", "response": {"code": code}})
    answer = bundle("message", ("POST x", header.encode()))
    async with fhir_server() as server, fhir_client(events, tmp_path, server.base):
        server.always = Fault(status=200, body=answer)
        await events.publish(event(bundle("message")))
        assert (await outcome(events)).name.lower() == result
        assert len(server.seen) == requests


async def test_type_of_an_event_cannot_break_out_of_its_header(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with fhir_server() as server, fhir_client(events, tmp_path, server.base):
        odd = "application/fhir+json; x=1\r\nx-evil: 1"
        await events.publish(event(patient("p1"), 1, type=odd))
        plain = "application/fhir+json; fhirVersion=4.0"
        await events.publish(event(patient("p1"), 2, type=plain))
        await events.until(lambda: len(events.receipts) == 2)
        kinds = [seen.headers["content-type"] for seen in server.seen]
        assert kinds == ["application/fhir+json", plain]
        assert not [seen for seen in server.seen if "x-evil" in seen.headers]


async def test_password_is_shown_as_basic_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = MemoryEvents()
    monkeypatch.setenv("FHIR_SECRET", "open sesame")
    auth = {"method": "basic", "user": "medmesh", "secret_env": "FHIR_SECRET"}
    async with fhir_server() as server, fhir_client(events, tmp_path, server.base, auth=auth):
        await events.publish(event(patient()))
        assert await outcome(events) is Outcome.APPLIED
        assert server.seen[0].headers["authorization"] == "Basic bWVkbWVzaDpvcGVuIHNlc2FtZQ=="
