"""The message index: how fast it is filled, what a message takes on disk, how long a search and a timeline take.

`python -m benchmarks.index [--json] [--messages N]`; one process, the file in the directory for temporary files.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bus.tracing.keys import Keys
from bus.tracing.protocol import Hop, HopKind, Query, QueryKind
from bus.tracing.store import Entry, IndexStore, Place
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb

_BATCH: Final = 512
_ASKED: Final = 500
_KEYS: Final = Keys(b"k" * 32)


def _entries(first: int, last: int) -> Iterator[Entry]:
    """Messages as a hospital's: control id, patient, visit, order; published and delivered once."""
    for n in range(first, last):
        index = content_pb.Index(
            control_id=f"MSG{n:08}",
            patient=[content_pb.Identifier(system="NORTH", value=f"P{n // 20}")],
            visit=[content_pb.Identifier(system="NORTH", value=f"V{n // 8}")],
            order=[content_pb.Identifier(system="NORTH", value=f"O{n // 4}")],
        )
        message_id = n.to_bytes(16, "big")
        subject = "evt.north.patient.admitted"
        yield Entry(
            hop=Hop(
                at_ms=n, kind=HopKind.PUBLISHED, message_id=message_id, subject=subject, by="adt"
            ),
            keys=_KEYS.of_index(index),
        )
        yield Entry(
            hop=Hop(
                at_ms=n + 1, kind=HopKind.DELIVERED, message_id=message_id, subject=subject,
                by="lab", to="lab-in", took_us=900,
            )
        )  # fmt: skip


def _p99_ms(ask: Callable[[int], object], messages: int) -> float:
    pick = random.Random(7)
    taken = []
    for _ in range(_ASKED):
        n = pick.randrange(messages)
        begun = time.perf_counter()
        ask(n)
        taken.append(time.perf_counter() - begun)
    return sorted(taken)[int(_ASKED * 0.99) - 1] * 1000


def run(messages: int) -> dict[str, float]:
    """Fill an index and ask it; the figures by name."""
    with TemporaryDirectory() as folder:
        store = IndexStore(Path(folder) / "index.db", messages=messages)
        begun, cpu = time.perf_counter(), time.process_time()
        for first in range(0, messages, _BATCH):
            last = min(first + _BATCH, messages)
            store.add(_entries(first, last), Place(stream="EVT", created_ms=1, seq=last))
        took_s, cpu_s = time.perf_counter() - begun, time.process_time() - cpu

        def find(n: int) -> object:
            key = _KEYS.of_query(Query(kind=QueryKind.PATIENT, value=f"P{n // 20}"))
            return store.find(key, limit=100)

        figures = {
            "messages": float(messages),
            "indexed_per_s": messages / took_s,
            "cpu_us_per_message": cpu_s / messages * 1e6,
            "find_p99_ms": _p99_ms(find, messages),
            "timeline_p99_ms": _p99_ms(lambda n: store.timeline(n.to_bytes(16, "big")), messages),
        }
        store.close()
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        return figures | {"bytes_per_message": size / messages}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--messages", type=int, default=1_000_000)
    options = parser.parse_args()
    figures = run(options.messages)
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:20} {value:12.2f}")


if __name__ == "__main__":
    main()
