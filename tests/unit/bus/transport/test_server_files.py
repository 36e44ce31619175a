from __future__ import annotations

import json
import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from bus.transport.ports import free_ports
from bus.transport.server_files import Folder
from bus.transport.server_process import is_running, started
from schemas.errors import ConfigurationError, Unavailable

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "nats")
    made.create()
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_may_read_what_is_secret(folder: Folder) -> None:
    identity = folder.identity()
    folder.write_config(identity, max_payload_bytes=1000, max_store_bytes=1)
    folder.announce(identity, pid=1, started="2")
    assert mode(folder.path) == 0o700
    for name in ("server.conf", "connection.json", "identity.json"):
        assert mode(folder.path / name) == 0o600, name
    assert identity.password not in repr(identity)
    assert identity.password not in repr(folder.access())


def test_configuration_syncs_always_and_listens_on_loopback_alone(folder: Folder) -> None:
    folder.write_config(folder.identity(), max_payload_bytes=1000, max_store_bytes=5000)
    text = folder.config.read_text()
    assert "sync_interval: always" in text
    assert "max_file_store: 5000" in text
    assert text.count('"127.0.0.1:') == 2
    assert "0.0.0.0" not in text


def test_identity_is_chosen_once(folder: Folder) -> None:
    assert folder.identity() == folder.identity()


def test_port_that_something_else_took_is_chosen_anew(folder: Folder) -> None:
    first = folder.identity()
    with socket.socket() as other:
        other.bind(("127.0.0.1", first.port))
        other.listen()
        second = folder.identity()
    assert second.port != first.port
    assert (second.monitor_port, second.password) == (first.monitor_port, first.password)


def test_access_is_read_back_as_written(folder: Folder) -> None:
    assert folder.access() is None
    assert folder.announce(folder.identity(), pid=7, started="8") == folder.access()
    folder.withdraw()
    assert folder.access() is None
    folder.withdraw()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', "null"])
def test_damaged_record_is_no_record(folder: Folder, text: str) -> None:
    (folder.path / "connection.json").write_text(text)
    (folder.path / "identity.json").write_text(text)
    assert folder.access() is None
    assert folder.identity().port > 0


def test_folder_has_one_owner_at_a_time(folder: Folder) -> None:
    lock = folder.lock()
    assert lock is not None
    assert Folder(folder.path).lock() is None
    os.close(lock)
    again = folder.lock()
    assert again is not None
    os.close(again)


def test_folder_that_cannot_be_made_is_an_error_with_its_key(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"mesh\.data"):
        Folder(tmp_path / "file" / "nats").create()


def test_path_with_odd_characters_stays_one_string(tmp_path: Path) -> None:
    folder = Folder(tmp_path / 'a "quoted" näme')
    folder.create()
    folder.write_config(folder.identity(), max_payload_bytes=1, max_store_bytes=1)
    assert json.dumps(str(folder.store)) in folder.config.read_text()


def test_free_ports_are_different_from_each_other() -> None:
    assert len(set(free_ports([0] * 10))) == 10


def test_process_is_known_by_its_number_and_its_start() -> None:
    start = started(os.getpid())
    assert is_running(os.getpid(), start)
    assert not is_running(os.getpid(), "1")
    assert not is_running(os.getpid(), "")
    assert not is_running(0, start)
    assert started(2**22 + 1) == ""


def test_full_disk_is_an_error_of_ours_that_names_the_file(folder: Folder) -> None:
    folder.config.with_name("server.conf.new").symlink_to("/dev/full")
    with pytest.raises(
        Unavailable, match=r"server\.conf cannot be written: No space left on device"
    ):
        folder.write_config(folder.identity(), max_payload_bytes=1000, max_store_bytes=1)


def streams(folder: Folder, account: str) -> Path:
    return folder.store / "jetstream" / account / "streams"


def test_streams_of_the_time_before_accounts_are_taken_over(folder: Folder) -> None:
    (streams(folder, "$G") / "EVT").mkdir(parents=True)
    folder.adopt_streams()
    folder.adopt_streams()
    assert [path.name for path in streams(folder, "MESH").iterdir()] == ["EVT"]
    assert not streams(folder, "$G").exists()


def test_streams_that_only_one_account_has_are_joined(folder: Folder) -> None:
    (streams(folder, "$G") / "DLQ").mkdir(parents=True)
    (streams(folder, "MESH") / "EVT").mkdir(parents=True)
    folder.adopt_streams()
    assert sorted(path.name for path in streams(folder, "MESH").iterdir()) == ["DLQ", "EVT"]


def test_stream_that_both_accounts_hold_stops_the_start_and_moves_nothing(folder: Folder) -> None:
    for account in ("$G", "MESH"):
        (streams(folder, account) / "EVT").mkdir(parents=True)
    (streams(folder, "$G") / "DLQ").mkdir()
    with pytest.raises(ConfigurationError, match=r"both .* hold EVT"):
        folder.adopt_streams()
    assert (streams(folder, "$G") / "DLQ").exists()


def test_fresh_folder_has_nothing_to_take_over(folder: Folder) -> None:
    folder.adopt_streams()
    assert list(folder.store.iterdir()) == []


def test_configuration_shows_the_mesh_whose_connection_ended(folder: Folder) -> None:
    folder.write_config(folder.identity(), max_payload_bytes=1000, max_store_bytes=5000)
    text = folder.config.read_text()
    assert "system_account: SYS" in text
    assert text.count("$SYS.ACCOUNT.MESH.DISCONNECT") == 1
    assert text.count("user:") == 1  # nobody logs in to the system account
