"""The sections of mesh.toml: defaults, bounds, closed tables."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from medmesh.config.problems import model_in
from schemas.config import LimitsSection, NatsSection, SiteConfig


def test_an_empty_file_is_a_whole_configuration() -> None:
    config = SiteConfig.model_validate({})
    assert config.nats.servers == ()
    assert config.mesh.site == "main"


def test_a_section_cannot_be_changed_after_it_was_checked() -> None:
    config = SiteConfig.model_validate({})
    with pytest.raises(ValidationError):
        config.mesh.site = "other"


def test_the_password_is_not_in_the_representation() -> None:
    assert "hunter2" not in repr(NatsSection(user="u", password="hunter2"))


def test_sizes_are_read_with_units() -> None:
    assert LimitsSection.model_validate({"event_bytes": "20 GiB"}).event_bytes == 20 * 2**30


@pytest.mark.parametrize(
    "table",
    [
        {"mesh": {"site": "North"}},
        {"mesh": {"site": ""}},
        {"nats": {"servers": ["http://n1:4222"]}},
        {"nats": {"replicas": 6}},
        {"limits": {"drain_s": 0}},
        {"limits": {"event_bytes": "1 KiB"}},
        {"log": {"level": "chatty"}},
        {"retention": {"events_h": -1}},
        {"mesh": {"sites": "north"}},
    ],
)
def test_a_value_out_of_range_or_an_unknown_key_is_refused(table: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SiteConfig.model_validate(table)


def test_every_field_has_a_description_because_it_is_the_manual() -> None:
    for section in SiteConfig.model_fields.values():
        assert section.description
        fields = getattr(model_in(section.annotation), "model_fields", {})
        assert fields
        assert all(info.description for info in fields.values())
