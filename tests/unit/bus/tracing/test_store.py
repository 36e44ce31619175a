"""The index keeps each hop once, finds by key, follows copies, stays bounded and outlives its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.tracing.keys import Keys
from bus.tracing.protocol import MAX_FOUND, Hop, HopKind, Query, QueryKind
from bus.tracing.store import MAX_HOPS, Entry, IndexStore, Place
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb

KEYS = Keys(b"k" * 32)
PATIENT = KEYS.of_query(Query(kind=QueryKind.PATIENT, value="PAT-1"))
KILLED = """
import os, signal, sys
from pathlib import Path
from bus.tracing.protocol import Hop, HopKind
from bus.tracing.store import Entry, IndexStore, Place
store = IndexStore(Path(sys.argv[1]), messages=10)
hop = Hop(at_ms=1, kind=HopKind.PUBLISHED, message_id=b"a", subject="evt.x", by="adt")
store.add([Entry(hop=hop)], Place(stream="EVT", created_ms=7, seq=1))
def broken():
    yield Entry(hop=Hop(at_ms=2, kind=HopKind.PUBLISHED, message_id=b"b", subject="evt.x", by="adt"))
    os.kill(os.getpid(), signal.SIGKILL)
store.add(broken(), Place(stream="EVT", created_ms=7, seq=2))
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[IndexStore]:
    opened = IndexStore(tmp_path / "index.db", messages=100)
    yield opened
    opened.close()


def published(name: bytes, at_ms: int = 1, *, of: bytes = b"") -> Hop:
    return Hop(
        at_ms=at_ms, kind=HopKind.PUBLISHED, message_id=name, subject="evt.north.x", by="adt",
        derived_from=of,
    )  # fmt: skip


def happened(name: bytes, kind: HopKind, at_ms: int, cause: str = "") -> Hop:
    return Hop(
        at_ms=at_ms, kind=kind, message_id=name, subject="evt.north.x", by="lab", to="lab-in",
        cause=cause,
    )  # fmt: skip


def test_messages_of_a_key_come_newest_first_and_bounded(store: IndexStore) -> None:
    store.add(Entry(hop=published(bytes([n]), n), keys=frozenset({PATIENT})) for n in range(5))
    assert [one.at_ms for one in store.find(PATIENT, limit=3)] == [4, 3, 2]
    assert len(store.find(PATIENT, limit=MAX_FOUND * 2)) == 5
    assert not store.find(PATIENT, limit=-1)
    assert not store.find(b"unknown", limit=3)


def test_a_hop_that_is_told_twice_is_kept_once(store: IndexStore) -> None:
    store.add([Entry(hop=published(b"a"))] * 2)
    store.add([Entry(hop=published(b"a"))])
    assert store.timeline(b"a").hops == (published(b"a"),)


@pytest.mark.parametrize("asked", [b"raw", b"fhir", b"created"])
def test_the_timeline_of_any_copy_is_that_of_all(store: IndexStore, asked: bytes) -> None:
    hops = [
        published(b"created", 3, of=b"fhir"),
        published(b"raw", 1),
        published(b"fhir", 2, of=b"raw"),
    ]
    store.add(Entry(hop=hop) for hop in hops)
    store.add([Entry(hop=published(b"other", 2))])
    assert list(store.timeline(asked).copies()) == [b"raw", b"fhir", b"created"]


def test_a_refusal_its_dead_letter_and_its_replay_are_told_in_order(store: IndexStore) -> None:
    store.add(
        [
            Entry(hop=happened(b"a", HopKind.REPLAYED, 4)),
            Entry(hop=happened(b"a", HopKind.REFUSED, 2, "unavailable")),
            Entry(hop=published(b"a", 1), keys=frozenset({PATIENT})),
            Entry(hop=happened(b"a", HopKind.DEAD_LETTERED, 3, "unavailable")),
        ]
    )
    assert [hop.kind for hop in store.timeline(b"a").hops] == [
        HopKind.PUBLISHED, HopKind.REFUSED, HopKind.DEAD_LETTERED, HopKind.REPLAYED,
    ]  # fmt: skip
    assert [(one.by, one.at_ms) for one in store.find(PATIENT, limit=1)] == [("adt", 1)]


def test_messages_that_claim_to_be_made_of_each_other_end(store: IndexStore) -> None:
    store.add([Entry(hop=published(b"a", of=b"b")), Entry(hop=published(b"b", of=b"a"))])
    assert set(store.timeline(b"a").copies()) == {b"a", b"b"}


def test_a_timeline_that_is_too_long_says_that_it_is_cut(store: IndexStore) -> None:
    store.add(Entry(hop=happened(b"a", HopKind.DELIVERED, n)) for n in range(MAX_HOPS + 1))
    timeline = store.timeline(b"a")
    assert timeline.is_cut
    assert len(timeline.hops) == MAX_HOPS


def test_an_unknown_message_has_no_hops(store: IndexStore) -> None:
    assert store.timeline(b"nobody").hops == ()


def test_the_oldest_are_forgotten_with_their_keys(tmp_path: Path) -> None:
    store = IndexStore(tmp_path / "index.db", messages=3)
    for n in range(10):
        store.add([Entry(hop=published(bytes([n]), n), keys=frozenset({PATIENT}))])
    assert store.count() == 3
    assert [one.at_ms for one in store.find(PATIENT, limit=10)] == [9, 8, 7]
    assert store.timeline(bytes([0])).hops == ()
    store.close()


def test_a_stream_made_anew_is_read_from_its_beginning(store: IndexStore) -> None:
    store.add([], Place(stream="EVT", created_ms=7, seq=12))
    assert store.place("EVT", 7) == 12
    assert store.place("EVT", 8) == 0


def test_a_batch_that_fails_leaves_nothing(store: IndexStore) -> None:
    def broken() -> Iterator[Entry]:
        yield Entry(hop=published(b"a"))
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        store.add(broken(), Place(stream="EVT", created_ms=7, seq=1))
    assert (store.count(), store.place("EVT", 7)) == (0, 0)


def test_a_killed_process_leaves_whole_batches_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)], check=False, timeout=60, env=dict(os.environ),
        cwd=Path(__file__).parents[4],
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    store = IndexStore(path, messages=10)
    assert (store.count(), store.place("EVT", 7)) == (1, 1)
    store.close()


def test_no_identifier_is_in_the_file(tmp_path: Path) -> None:
    index = content_pb.Index(
        patient=[content_pb.Identifier(system="NORTHASSIGNER", value="PATIENT-4711")],
        control_id="CONTROL-0815",
    )
    store = IndexStore(tmp_path / "index.db", messages=10)
    store.add([Entry(hop=published(b"a"), keys=KEYS.of_index(index))])
    held = b"".join(file.read_bytes() for file in tmp_path.iterdir()).lower()
    store.close()
    assert b"evt.north.x" in held
    for secret in (b"patient-4711", b"northassigner", b"control-0815"):
        assert secret not in held
