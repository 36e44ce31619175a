"""File names come from safe parts only."""

from __future__ import annotations

import pytest

from adapters.files.names import check_template, day_folder, extension_for, file_name


def test_name_is_made_of_time_number_and_identity() -> None:
    name = file_name(
        "{time}-{seq}-{id}",
        received_ms=1_800_000_000_123,
        seq=7,
        message_id=b"\x01\xff",
        extension=".hl7",
    )
    assert name == "20270115T080000.123Z-000000000007-01ff.hl7"


def test_names_sort_as_events_came() -> None:
    names = [
        file_name("{seq}-{id}", received_ms=0, seq=seq, message_id=b"\0", extension="")
        for seq in (1, 9, 10, 99, 100_000)
    ]
    assert names == sorted(names)


@pytest.mark.parametrize(
    "template", ["", "{seq}", "../{id}", "a/{id}", ".{id}", "{id}{other}", "{id} x", "{id}\n"]
)
def test_unsafe_or_ambiguous_templates_are_refused(template: str) -> None:
    with pytest.raises(ValueError, match="file name"):
        check_template(template)


def test_extension_follows_the_type() -> None:
    assert extension_for("hl7v2/ADT^A01") == ".hl7"
    assert extension_for("application/fhir+json") == ".json"
    assert extension_for("hl7v2evil/../../x") == ".bin"


def test_day_is_in_utc() -> None:
    assert day_folder(86_400_000 - 1) == "1970-01-01"
