"""Services that Python programs asked for are remembered, and their rights only grow."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.contract import Rights
from medmesh.runtime.registry import ServiceRegistry
from schemas.errors import ConfigurationError, SubjectError


def test_rights_are_added_to_those_remembered(tmp_path: Path) -> None:
    registry = ServiceRegistry(tmp_path / "services")
    assert registry.names() == []
    registry.add("bed-board", Rights(subscribe=("evt.north.patient.*.*",)))
    registry.add("bed-board", Rights(publish=("evt.north.order.placed.*",)))
    assert ServiceRegistry(tmp_path / "services").read("bed-board") == Rights(
        publish=("evt.north.order.placed.*",), subscribe=("evt.north.patient.*.*",)
    )
    assert registry.names() == ["bed-board"]


def test_a_right_that_covers_another_takes_its_place(tmp_path: Path) -> None:
    registry = ServiceRegistry(tmp_path / "services")
    registry.add("bed-board", Rights(subscribe=("evt.north.patient.admitted.*",)))
    rights = registry.add("bed-board", Rights(subscribe=("evt.north.patient.>",)))
    assert rights.subscribe == ("evt.north.patient.>",)


def test_a_damaged_file_and_a_wrong_name_are_refused(tmp_path: Path) -> None:
    registry = ServiceRegistry(tmp_path / "services")
    registry.add("bed-board", Rights(publish=("evt.north.order.placed.*",)))
    (tmp_path / "services" / "bed-board.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="remove it"):
        registry.read("bed-board")
    with pytest.raises(SubjectError):
        registry.add("../etc", Rights())
