"""From bytes to events: identity, partition, index."""

from __future__ import annotations

import random

from adapters.hl7v2.codec.header import peek
from adapters.hl7v2.convert import Intent, message_id, to_event
from bus.events.protocol import NewEvent
from schemas.subjects import matches
from tests.unit.adapters.parts import SITE, SITE_KEY, message


def convert(raw: bytes, *, site_key: bytes = SITE_KEY, seed: int = 1) -> NewEvent:
    intent = Intent(
        site=SITE,
        site_key=site_key,
        adapter="emr-in",
        event="hl7v2",
        charset="ASCII",
        receipts_from=("his-out",),
        random_bytes=random.Random(seed).randbytes,
    )
    return to_event(raw, peek(raw), intent, received_ms=5)


def test_event_carries_the_bytes_and_names_their_type() -> None:
    event = convert(message("C1"))
    assert event.body == message("C1")
    assert event.type == "hl7v2/ADT^A08"
    assert event.receipts_from == ("his-out",)
    assert matches("evt.north.raw.hl7v2.*", event.subject)


def test_identity_is_of_way_in_control_id_and_content() -> None:
    base = message_id(SITE_KEY, "emr-in", b"C1", b"x")
    assert len(base) == 16
    others = [
        message_id(b"other key", "emr-in", b"C1", b"x"),
        message_id(SITE_KEY, "lab-in", b"C1", b"x"),
        message_id(SITE_KEY, "emr-in", b"C2", b"x"),
        message_id(SITE_KEY, "emr-in", b"C1", b"y"),
        message_id(SITE_KEY, "emr-in", b"C1x", b""),
        message_id(SITE_KEY, "emr-inC", b"1", b"x"),
    ]
    assert len({base, *others}) == 7
    assert convert(message("C1")).message_id == convert(message("C1"), seed=2).message_id


def test_identity_is_frozen_since_resends_cross_an_upgrade() -> None:
    identity = message_id(bytes(range(32)), "emr-in", b"C1", b"MSH|^~\\&|x")
    assert identity == bytes.fromhex("89292f9a0284428b7225fcc9ee090767")


def test_without_control_id_identity_is_by_chance() -> None:
    assert convert(message("")).message_id != convert(message(""), seed=2).message_id


def test_partition_is_the_patients_and_hidden_by_the_sites_key() -> None:
    subjects = {convert(message(f"C{n}", patient="P7")).subject for n in range(20)}
    assert len(subjects) == 1
    elsewhere = {
        convert(message("C", patient="P7"), site_key=bytes([n]) * 32).subject for n in range(20)
    }
    assert len(elsewhere) > 5


def test_index_holds_patient_control_id_and_charset() -> None:
    index = convert(message("C1", patient="P7")).index
    assert index is not None
    assert [(p.system, p.value) for p in index.patient] == [("TESTHOSP", "P7")]
    assert (index.control_id, index.charset) == ("C1", "utf-8")


def test_message_without_patient_is_spread_by_its_identity() -> None:
    raws = [b"MSH|^~\\&|A|B|C|D|1||MFN^M02|%d|P|2.5\rMFI|x\r" % n for n in range(40)]
    assert len({convert(raw).subject for raw in raws}) > 10
