from __future__ import annotations

from pathlib import Path

import pytest

from bus.trust import Keystore, KeystoreDamaged, TrustSettings
from bus.trust.generations import Generations
from bus.trust.instances import claim
from schemas.clock import FakeClock
from tests.unit.bus.trust.world import DAY_S, no_passphrase

SERVICE = "his-out"


@pytest.fixture
def keystore(tmp_path: Path) -> Keystore:
    return Keystore.open(tmp_path / "k", passphrase=no_passphrase)


def generations(keystore: Keystore, clock: FakeClock) -> Generations:
    made = Generations(keystore, SERVICE, clock=clock, settings=TrustSettings())
    made.reload()
    return made


def test_a_generation_comes_back_after_a_restart(keystore: Keystore) -> None:
    clock = FakeClock()
    made = generations(keystore, clock).create(1)
    again = generations(keystore, clock)
    assert again.newest is not None
    assert again.newest.key.seed == made.key.seed
    assert again.newest.created_ms == clock.now_ms()
    assert set(again.keys) == {made.key.id}


def test_two_processes_on_one_keystore_make_one_generation(keystore: Keystore) -> None:
    one, two = generations(keystore, FakeClock()), generations(keystore, FakeClock())
    assert one.create(1).key.id == two.create(1).key.id


def test_old_generations_are_destroyed_on_disk_and_in_memory_after_retention(
    keystore: Keystore,
) -> None:
    clock = FakeClock()
    held = generations(keystore, clock)
    first = held.create(1)
    view = held.keys
    clock.advance(DAY_S)
    assert held.is_due()
    held.create(2)
    clock.advance(8 * DAY_S - 1)
    assert held.destroy_old(waiting_since_ms=None) == []
    clock.advance(1)
    assert held.destroy_old(waiting_since_ms=None) == [1]
    assert first.key.id not in view
    assert keystore.names(f"services/{SERVICE}/kem") == [f"services/{SERVICE}/kem/2"]
    assert first.key.seed not in b"".join(
        path.read_bytes() for path in keystore.folder.rglob("*") if path.is_file()
    )


def test_the_newest_generation_is_never_destroyed(keystore: Keystore) -> None:
    clock = FakeClock()
    held = generations(keystore, clock)
    held.create(1)
    clock.advance(400 * DAY_S)
    assert held.destroy_old(waiting_since_ms=None) == []


def test_a_generation_that_a_waiting_message_needs_stays(keystore: Keystore) -> None:
    clock = FakeClock()
    held = generations(keystore, clock)
    held.create(1)
    waiting_ms = clock.now_ms() + 1000
    clock.advance(DAY_S)
    held.create(2)
    clock.advance(30 * DAY_S)
    assert held.destroy_old(waiting_since_ms=waiting_ms) == []
    assert held.destroy_old(waiting_since_ms=clock.now_ms()) == [1]


def test_what_another_process_destroyed_is_let_go(keystore: Keystore) -> None:
    clock = FakeClock()
    one, two = generations(keystore, clock), generations(keystore, clock)
    one.create(1)
    two.reload()
    assert len(two.keys) == 1
    one.discard(1)
    two.reload()
    assert len(two.keys) == 0
    assert two.newest is None


def test_a_damaged_generation_is_named(keystore: Keystore) -> None:
    keystore.write(f"services/{SERVICE}/kem/1", b"short")
    with pytest.raises(KeystoreDamaged, match="kem/1"):
        generations(keystore, FakeClock())


def test_a_restarted_instance_keeps_its_name_and_keys(keystore: Keystore) -> None:
    first = claim(keystore, SERVICE, 1)
    first.release()
    second = claim(keystore, SERVICE, 1)
    assert second.instance == first.instance
    assert second.sign.public_bytes == first.sign.public_bytes
    assert second.seal.seed == first.seal.seed


def test_two_running_instances_never_share_a_name(keystore: Keystore) -> None:
    first, second = claim(keystore, SERVICE, 1), claim(keystore, SERVICE, 1)
    assert first.instance != second.instance
    assert first.sign.public_bytes != second.sign.public_bytes


def test_another_suite_takes_another_place(keystore: Keystore) -> None:
    first = claim(keystore, SERVICE, 1)
    first.release()
    assert claim(keystore, SERVICE, 2).instance != first.instance


def test_of_the_sealing_keys_the_last_two_stay(keystore: Keystore) -> None:
    place = claim(keystore, SERVICE, 1)
    first = place.seal
    place.renew_seal()
    assert place.seals[0].seed == first.seed
    place.renew_seal()
    assert first.seed not in [one.seed for one in place.seals]
    place.release()
    again = claim(keystore, SERVICE, 1)
    assert [one.seed for one in again.seals] == [one.seed for one in place.seals]
