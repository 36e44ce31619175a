from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bus.transport.server_log import LogTail, NoticeKind, classify

if TYPE_CHECKING:
    from pathlib import Path

STAMP = "[9615] 2026/11/22 17:08:54.717176 "


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (
            "[ERR] Filestore [A] Critical write error: write 1.blk: no space left on device",
            NoticeKind.DISK_FULL,
        ),
        ("[ERR] JetStream file resource limits exceeded for server", NoticeKind.DISK_FULL),
        ("[ERR] Filestore [A] Critical write error: input/output error", NoticeKind.WRITE_ERROR),
        (
            "[ERR] JetStream failed to store a msg on stream 'X': bad file descriptor",
            NoticeKind.WRITE_ERROR,
        ),
        (
            "[WRN] JetStream out of File resources, will be DISABLED",
            NoticeKind.JETSTREAM_DISABLED,
        ),
        ("[FTL] Can't start JetStream: permission denied", NoticeKind.SERVER_ERROR),
    ],
)
def test_line_that_matters_becomes_a_notice(line: str, kind: NoticeKind) -> None:
    notice = classify(STAMP + line)
    assert notice is not None
    assert notice.kind is kind
    assert notice.text in line


@pytest.mark.parametrize("line", ["[INF] Server is ready", "[WRN] slow", "", "no level"])
def test_other_lines_need_nobodys_attention(line: str) -> None:
    assert classify(STAMP + line) is None


def test_tail_reads_only_what_was_added_and_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(STAMP + "[ERR] old\n")
    tail = LogTail(path)
    with path.open("a") as file:
        file.write(STAMP + "[ERR] one\n" + STAMP + "[ERR] tw")
    assert [n.text for n in tail.read()] == ["one"]
    with path.open("a") as file:
        file.write("o\n")
    assert [n.text for n in tail.read()] == ["two"]
    assert tail.read() == []


def test_tail_follows_a_rotated_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("x" * 1000 + "\n")
    tail = LogTail(path)
    path.write_text(STAMP + "[ERR] new file\n")
    assert [n.text for n in tail.read()] == ["new file"]


def test_tail_of_a_missing_log_is_empty(tmp_path: Path) -> None:
    assert LogTail(tmp_path / "none").read() == []


def test_flood_is_read_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("")
    tail = LogTail(path)
    path.write_text((STAMP + "[ERR] flood\n") * 20_000 + STAMP + "[ERR] last\n")
    notices = tail.read()
    assert notices[-1].text == "last"
    assert len(notices) < 20_000
