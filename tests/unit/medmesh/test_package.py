"""`import medmesh` is cheap, offers what it lists, and says when a user's own file stands in our way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import medmesh


def test_every_public_name_resolves_and_is_explained() -> None:
    for name in medmesh.__all__:
        assert getattr(medmesh, name).__doc__, name
    assert set(dir(medmesh)) >= set(medmesh.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Mush'"):
        _ = medmesh.Mush


@pytest.mark.parametrize("name", ["schemas", "bus", "adapters"])
def test_a_file_of_the_user_that_shadows_ours_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("")
    root = Path(medmesh.__file__).parent.parent
    program = f"import sys; sys.path.append({str(root)!r}); import medmesh"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert f"{name}.py shadows medmesh's own package '{name}': rename that file" in done.stderr
