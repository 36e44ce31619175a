from __future__ import annotations

import os
from pathlib import Path

import pytest

from bus.trust import KeyMissing, Keystore, KeystoreDamaged, KeystoreUnsafe, PassphraseWrong
from bus.trust.files import FileLock, locked, read_private, write_atomic
from bus.trust.keystore import passphrase_from_environment

CHEAP = 1 << 10


def open_store(folder: Path, passphrase: str = "") -> Keystore:
    return Keystore.open(folder, passphrase=lambda: passphrase, scrypt_n=CHEAP)


def test_keys_come_back_after_a_restart(tmp_path: Path) -> None:
    open_store(tmp_path / "k").write("services/his-out/kem/1", b"seed")
    assert open_store(tmp_path / "k").read("services/his-out/kem/1") == b"seed"


def test_files_are_0600_in_folders_0700(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        open_store(tmp_path / "k").write("services/his-out/kem/1", b"seed")
    finally:
        os.umask(previous)
    for path in (tmp_path / "k", *(tmp_path / "k").rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o601])
def test_a_key_that_others_could_read_is_refused_with_the_repair(tmp_path: Path, mode: int) -> None:
    store = open_store(tmp_path / "k")
    store.write("sign", b"secret")
    (tmp_path / "k/sign").chmod(mode)
    with pytest.raises(KeystoreUnsafe, match=rf"mode {mode:04o}.*chmod 600 {tmp_path}/k/sign"):
        store.read("sign")


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777])
def test_a_folder_that_others_may_enter_is_refused_with_the_repair(
    tmp_path: Path, mode: int
) -> None:
    open_store(tmp_path / "k")
    (tmp_path / "k").chmod(mode)
    with pytest.raises(KeystoreUnsafe, match=rf"chmod 700 {tmp_path}/k"):
        open_store(tmp_path / "k")


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    store = open_store(tmp_path / "k")
    store.write("real", b"secret")
    (tmp_path / "k/link").symlink_to(tmp_path / "k/real")
    with pytest.raises(OSError, match="symbolic links"):
        store.read("link")


def test_nothing_of_a_key_is_on_disk_in_clear_under_a_passphrase(tmp_path: Path) -> None:
    secret = bytes(range(64))
    open_store(tmp_path / "k", "correct horse").write("sign", secret)
    assert all(
        secret[:8] not in path.read_bytes()
        for path in (tmp_path / "k").rglob("*")
        if path.is_file()
    )
    assert open_store(tmp_path / "k", "correct horse").read("sign") == secret


def test_a_wrong_missing_or_needless_passphrase_is_told_apart(tmp_path: Path) -> None:
    open_store(tmp_path / "sealed", "right")
    open_store(tmp_path / "plain")
    with pytest.raises(PassphraseWrong, match=r"does not open.*MEDMESH_PASSPHRASE"):
        open_store(tmp_path / "sealed", "wrong")
    with pytest.raises(PassphraseWrong, match="is under a passphrase: set MEDMESH_PASSPHRASE"):
        open_store(tmp_path / "sealed")
    with pytest.raises(PassphraseWrong, match="without a passphrase: unset"):
        open_store(tmp_path / "plain", "any")


def test_passphrase_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDMESH_PASSPHRASE", raising=False)
    assert passphrase_from_environment() == ""
    monkeypatch.setenv("MEDMESH_PASSPHRASE", "horse")
    assert passphrase_from_environment() == "horse"


def test_two_sealed_files_cannot_be_swapped(tmp_path: Path) -> None:
    store = open_store(tmp_path / "k", "p")
    store.write("one", b"1")
    store.write("two", b"2")
    (tmp_path / "k/one").replace(tmp_path / "k/two")
    with pytest.raises(KeystoreDamaged, match="restore it from a backup"):
        store.read("two")


def test_every_changed_bit_of_a_sealed_file_is_noticed(tmp_path: Path) -> None:
    store = open_store(tmp_path / "k", "p")
    store.write("one", b"secret")
    path = tmp_path / "k/one"
    good = path.read_bytes()
    for bit in range(len(good) * 8):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        with pytest.raises(KeystoreDamaged):
            store.read("one")


def test_a_plain_file_is_not_taken_by_a_sealed_keystore(tmp_path: Path) -> None:
    open_store(tmp_path / "plain").write("one", b"forged")
    store = open_store(tmp_path / "k", "p")
    store.write("one", b"real")
    (tmp_path / "plain/one").replace(tmp_path / "k/one")
    with pytest.raises(KeystoreDamaged):
        store.read("one")


@pytest.mark.parametrize(
    "header",
    [b"", b"[]", b"{}", b'{"format": 2}', b'{"format": 1, "salt": "", "scrypt_n": 1099511627776}'],
)
def test_a_damaged_header_is_told_apart_from_a_wrong_passphrase(
    tmp_path: Path, header: bytes
) -> None:
    open_store(tmp_path / "k", "p")
    write_atomic(tmp_path / "k/keystore", header)
    with pytest.raises(KeystoreDamaged):
        open_store(tmp_path / "k", "p")


def test_missing_and_destroyed_keys_are_missing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "k")
    store.write("kem/1", b"seed")
    store.destroy("kem/1")
    store.destroy("kem/1")
    assert store.names("kem") == []
    with pytest.raises(KeyMissing, match="kem/1"):
        store.read("kem/1")


@pytest.mark.parametrize("name", ["", "../x", "/etc/x", "a//b", ".hidden", "a/../b", "A", "a b"])
def test_a_name_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a key"):
        open_store(tmp_path / "k").write(name, b"")


def test_a_failed_write_leaves_the_old_content_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomic(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_a_file_of_another_size_than_allowed_is_refused(tmp_path: Path) -> None:
    write_atomic(tmp_path / "big", bytes(11))
    with pytest.raises(OSError, match="more than 10 bytes"):
        read_private(tmp_path / "big", max_bytes=10)


def test_a_lock_has_one_holder_at_a_time(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    with locked(tmp_path / "lock"):
        assert not lock.try_acquire()
    assert lock.try_acquire()
    lock.release()
    lock.release()
