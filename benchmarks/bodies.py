"""Body encodings: bytes of a sealed message and CPU to seal and to open it, as it is against compressed.

    python -m benchmarks.bodies [--json] [--rounds 9] [--fhir FOLDER]

Synthetic HL7 v2 messages of the MLLP benchmark, which the dictionaries were not trained on; FHIR resources where a
folder with JSON files is given. Batches of 8, suite 1, one reader; identity, zstd and zstd with the dictionary take
turns in each round, minimum of the rounds. Sizes are of whole envelopes, padding included. The second table shows
single bodies by size: what encoding and decoding cost, and what is left.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.envelope import SUBJECT, Scene
from benchmarks.mllp_load import adt, oru
from bus.bodies import BodyCodec, Dictionaries
from bus.envelope import Opener, Plain, Sealer
from bus.events.content import to_content
from bus.events.protocol import NewEvent
from schemas.dictionaries import shipped

T = TypeVar("T")
Row = dict[str, Any]
BATCH = 8
V2, FHIR = "hl7v2/ADT^A01", "application/fhir+json"


def codecs() -> dict[str, BodyCodec | None]:
    """The three ways."""
    offered = Dictionaries()
    for one in shipped():
        offered.offered(one.id)
    return {"identity": None, "zstd": BodyCodec(Dictionaries(())), "dictionary": BodyCodec(offered)}


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """The result, and microseconds of this thread's CPU."""
    began = time.thread_time_ns()
    result = work()
    return result, (time.thread_time_ns() - began) / 1000


def seal(
    sealer: Sealer, kind: str, bodies: Sequence[bytes], codec: BodyCodec | None
) -> list[bytes]:
    """Encode and seal in batches."""
    sealed: list[bytes] = []
    for start in range(0, len(bodies), BATCH):
        batch = [plain(kind, body, codec) for body in bodies[start : start + BATCH]]
        sealed += sealer.seal(batch).envelopes
    return sealed


def unseal(opener: Opener, sealed: Sequence[bytes], codec: BodyCodec) -> list[bytes]:
    """Open and decode."""
    return [codec.decode(opener.open(SUBJECT, one).content) for one in sealed]


def envelopes(kind: str, bodies: Sequence[bytes], rounds: int) -> list[Row]:
    """One row for each way: bytes on the wire, microseconds to encode and seal, and to open and decode."""
    scene = Scene(1, 1)
    ways = codecs()
    reader = BodyCodec()
    rows: dict[str, Row] = {}
    for _ in range(rounds):
        for name, codec in ways.items():
            sealer, opener = scene.pair()
            sealed, seal_us = timed(partial(seal, sealer, kind, bodies, codec))
            opened, open_us = timed(partial(unseal, opener, sealed, reader))
            assert opened == list(bodies)
            row = rows.setdefault(name, {"kind": kind, "way": name, "seal_us": 1e9, "open_us": 1e9})
            row["body_bytes"] = round(sum(map(len, bodies)) / len(bodies))
            row["envelope_bytes"] = round(sum(map(len, sealed)) / len(bodies))
            row["seal_us"] = min(row["seal_us"], round(seal_us / len(bodies), 1))
            row["open_us"] = min(row["open_us"], round(open_us / len(bodies), 1))
    for row in rows.values():
        row["share"] = round(row["envelope_bytes"] / rows["identity"]["envelope_bytes"], 2)
    return list(rows.values())


def plain(kind: str, body: bytes, codec: BodyCodec | None) -> Plain:
    """One event, ready to be sealed."""
    event = NewEvent(subject=SUBJECT, type=kind, body=body)
    return Plain(
        subject=SUBJECT,
        content=to_content(event, message_id=bytes(16), source="emr-in", now_ms=1, codec=codec),
    )


def repeated(work: Callable[[], object], size: int, rounds: int) -> float:
    """Microseconds of one call, the least of the rounds."""
    count = max(1, 20_000 // size)
    spent = [timed(lambda: [work() for _ in range(count)])[1] for _ in range(rounds)]
    return round(min(spent) / count, 1)


def one_body(what: str, body: bytes, codec: BodyCodec, rounds: int) -> Row:
    """What one body costs, and what is left of it."""
    content = plain(V2, body, codec).content
    return {
        "what": what,
        "bytes": len(body),
        "encoded": len(content.body),
        "encode_us": repeated(partial(codec.encode, V2, body), len(body), rounds),
        "decode_us": repeated(partial(codec.decode, content), len(body), rounds),
    }


def by_size(rounds: int) -> list[Row]:
    """Text that compresses, and bytes that do not."""
    codec = codecs()["dictionary"] or BodyCodec()
    text = "".join(oru(i) + adt(i) for i in range(3000)).encode()
    rows = []
    for size in (300, 1024, 4096, 16_384, 65_536, 1 << 20, 7 << 20):
        rows.append(one_body("hl7v2", text[:size], codec, rounds))
        rows.append(one_body("random", os.urandom(size), codec, rounds))
    return rows


def resources(folder: Path) -> list[bytes]:
    """Resources below 5 KB in a folder's JSON files, and in the Bundles there."""
    found = []
    for path in sorted(folder.rglob("*.json")):
        read = json.loads(path.read_bytes())
        entries = [entry["resource"] for entry in read.get("entry", ()) if "resource" in entry]
        found += [json.dumps(one, separators=(",", ":")).encode() for one in entries or [read]]
    small = [one for one in found if len(one) < 5000]
    if not small:
        raise SystemExit(f"{folder} has no JSON file with a resource below 5 KB")
    return small


def measure(rounds: int, fhir: Path | None) -> dict[str, Any]:
    """Both tables."""
    gc.collect()
    gc.freeze()
    bodies = [
        (oru(i) if i % 3 == 0 else adt(i)).replace("@", f"M{i:08d}").encode() for i in range(192)
    ]
    rows = envelopes(V2, bodies, rounds)
    if fhir is not None:
        rows += envelopes(FHIR, resources(fhir)[:192], rounds)
    return {"envelopes": rows, "bodies": by_size(rounds)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--fhir", type=Path)
    options, _ = parser.parse_known_args()
    result = measure(options.rounds, options.fhir)
    if options.json:
        print(json.dumps(result))
        return
    print("content type           body  way         envelope  share  seal us  open us")
    for row in result["envelopes"]:
        print(
            f"{row['kind']:21} {row['body_bytes']:>5}  {row['way']:10} {row['envelope_bytes']:>9}  {row['share']:>5}"
            f"  {row['seal_us']:>7}  {row['open_us']:>7}"
        )
    print("\nbody         bytes   encoded  encode us  decode us")
    for row in result["bodies"]:
        print(
            f"{row['what']:8} {row['bytes']:>9} {row['encoded']:>9} {row['encode_us']:>10} {row['decode_us']:>10}"
        )


if __name__ == "__main__":
    main()
