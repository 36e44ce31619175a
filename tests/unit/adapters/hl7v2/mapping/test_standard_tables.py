"""The tables that ship: they load, and they know which rows of the official guide they carry out."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from adapters.hl7v2.codec import Message
from adapters.hl7v2.mapping import default_mapper
from adapters.hl7v2.mapping.loading import load_tables
from adapters.hl7v2.mapping.model import Document, Tables
from adapters.hl7v2.mapping.protocol import MapContext, Mapped
from tests.shared_data import ROOT

STD: Path = ROOT / "adapters" / "hl7v2" / "maps" / "std"
STATES = {"implemented", "narrative", "unsupported", "left out"}
ADMISSION = (
    "MSH|^~\\&|HIS|NORTH|LAB|SOUTH|20260101083000+0100||ADT^A01^ADT_A01|1|P|2.5.1",
    "EVN|A01|20260101083000+0100",
    "PID|1||10001^^^NORTH^MR||Doe^Jane||19800102|F",
    "PV1|1|I|W1^12^3^NORTH||||1234^Smith^Ann|||||||||||V77",
)


def official() -> list[dict[str, str]]:
    with (STD / "coverage.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def documents(tables: Tables) -> list[Document]:
    return [*tables.segments.values(), *tables.datatypes.values()]


def mapped(*segments: str) -> Mapped:
    return default_mapper().map(
        Message.parse("\r".join(segments).encode()), MapContext(tenant="test")
    )


def test_the_tables_compile() -> None:
    assert default_mapper().version


def test_rules_name_rows_of_official_documents() -> None:
    # rows to which the guide gives no target are not listed, and a rule may carry one out all the same
    known = {row["document"] for row in official()}
    named = {
        f"{one.place.file}: {row}"
        for one in documents(load_tables())
        for rule in one.rules.values()
        for row in rule.ig
        if row.rpartition("/")[0] not in known
    }
    assert named == set()


def test_every_official_row_has_a_state_and_what_is_not_carried_out_a_reason() -> None:
    rows = official()
    assert {row["state"] for row in rows} <= STATES
    assert [row for row in rows if row["state"] != "implemented" and not row["reason"]] == []
    keys = Counter((row["document"], row["row"], row["part"]) for row in rows)
    assert [key for key, count in keys.items() if count > 1] == []


def test_rows_of_segments_and_types_that_count_as_implemented_have_a_rule() -> None:
    named = {
        row for one in documents(load_tables()) for rule in one.rules.values() for row in rule.ig
    }
    missing = {
        key
        for row in official()
        if row["digest"] and row["state"] == "implemented"
        if (key := f"{row['document']}/{row['row']}") not in named
    }
    assert missing == set()


def test_references_survive_where_an_earlier_place_of_a_list_stays_empty() -> None:
    # the second component's identifier alone leaves the first place of a list empty
    segments = (*ADMISSION[:3], "PV1|1|I|^^^^^^^^^|||||||||||||||V77", *ADMISSION[3:])
    with_gap = mapped(
        ADMISSION[0].replace("NORTH", "^1.2.3^ISO"), *ADMISSION[1:3], ADMISSION[3], segments[3]
    )
    encounters = [one for one in with_gap.resources if one["resourceType"] == "Encounter"]
    assert encounters
    assert all(one.get("subject") for one in encounters)


def test_a_sender_without_an_address_still_has_a_header() -> None:
    header = next(
        one for one in mapped(*ADMISSION).resources if one["resourceType"] == "MessageHeader"
    )
    source = header["source"]
    assert isinstance(source, dict)
    assert "endpoint" not in source
    assert "_endpoint" in source


def test_orders_of_nobody_say_that_the_patient_is_unknown() -> None:
    found = mapped(
        ADMISSION[0].replace("ADT^A01^ADT_A01", "ORM^O01^ORM_O01"),
        "ORC|NW|11",
        "OBR|1|11||123^Glucose^LN",
    )
    order = next(one for one in found.resources if one["resourceType"] == "ServiceRequest")
    assert "extension" in dict(order["subject"])  # type: ignore[arg-type]  # an object


def test_a_time_of_an_order_gives_way_to_its_timing_or_stands_alone() -> None:
    found = mapped(
        ADMISSION[0].replace("ADT^A01^ADT_A01", "ORM^O01^ORM_O01"),
        ADMISSION[2],
        "ORC|NW|11|||SC||1^^^20260102080000+0100",
        "OBR|1|11||123^Glucose^LN||20260102090000+0100",
    )
    order = next(one for one in found.resources if one["resourceType"] == "ServiceRequest")
    assert len([name for name in order if name.startswith("occurrence")]) == 1
