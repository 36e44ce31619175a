"""Files are whole or absent, and nothing is overwritten."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from adapters.files.disk import (
    Changing,
    NameTaken,
    TooLarge,
    is_open_for_writing,
    move_into,
    read_whole,
    write_whole,
)
from schemas.errors import Unavailable


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_exactly_the_bytes_are_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    content = bytes(range(256)) * 20_000
    assert write_whole(tmp_path / "a.hl7", content)
    assert (tmp_path / "a.hl7").read_bytes() == content
    assert names(tmp_path) == ["a.hl7"]


def test_writing_the_same_twice_is_one_file(tmp_path: Path) -> None:
    assert write_whole(tmp_path / "a", b"x")
    assert not write_whole(tmp_path / "a", b"x")
    assert names(tmp_path) == ["a"]


def test_file_with_other_content_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"precious")
    with pytest.raises(NameTaken):
        write_whole(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"precious"
    assert names(tmp_path) == ["a"]


def test_half_written_file_of_a_crash_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".a.part").write_bytes(b"half")
    assert write_whole(tmp_path / "a", b"whole")
    assert names(tmp_path) == ["a"]


def test_half_written_file_that_is_a_link_elsewhere_harms_nothing(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    (tmp_path / ".a.part").symlink_to(other)
    write_whole(tmp_path / "a", b"whole")
    assert other.read_bytes() == b"precious"


def test_full_disk_is_unavailable_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int, _content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Unavailable, match="No space left"):
        write_whole(tmp_path / "a", b"x")
    assert names(tmp_path) == []


def test_missing_folder_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        write_whole(tmp_path / "gone" / "a", b"x")


def test_file_system_without_hard_links_still_never_overwrites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.EPERM, "no hard links")

    monkeypatch.setattr(os, "link", refuse)
    assert write_whole(tmp_path / "a", b"x")
    with pytest.raises(NameTaken):
        write_whole(tmp_path / "a", b"y")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_moving_takes_a_free_name(tmp_path: Path) -> None:
    done = tmp_path / "done"
    done.mkdir()
    for expected in ("a", "a.1", "a.2"):
        (tmp_path / "a").write_bytes(expected.encode())
        assert move_into(tmp_path / "a", done) == done / expected
    assert names(done) == ["a", "a.1", "a.2"]


def test_move_that_a_crash_cut_in_two_is_finished(tmp_path: Path) -> None:
    done = tmp_path / "done"
    done.mkdir()
    (tmp_path / "a").write_bytes(b"x")
    os.link(tmp_path / "a", done / "a")
    assert move_into(tmp_path / "a", done) == done / "a"
    assert not (tmp_path / "a").exists()
    assert names(done) == ["a"]


def test_large_files_and_links_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    with pytest.raises(TooLarge):
        read_whole(tmp_path / "a", max_bytes=4)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="link"):
        read_whole(tmp_path / "link", max_bytes=10)


def test_file_that_grows_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"half")
    real = os.fstat
    calls: list[int] = []

    def growing(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        if not calls:
            calls.append(1)
            with path.open("ab") as file:
                file.write(b" more")
        return status

    monkeypatch.setattr(os, "fstat", growing)
    with pytest.raises(Changing):
        read_whole(path, max_bytes=100)


def test_open_writer_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb") as writer:
        writer.write(b"half")
        writer.flush()
        assert is_open_for_writing(path)
    assert not is_open_for_writing(path)
    assert not is_open_for_writing(tmp_path / "missing")
