"""Train schemas/dictionaries on synthetic messages, and on nothing else; with --check, look whether they are as said.

A dictionary holds parts of what it was trained on, word for word: so it must never see a real message. Training again
gives the same bytes with the same version of zstd. A changed dictionary is a new one: the former stays in the index,
since stored messages name it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import zstandard

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from synthetic_fhir import resources  # noqa: E402
from synthetic_v2 import messages  # noqa: E402

from medmesh.demo.messages import day  # noqa: E402

FOLDER = ROOT / "schemas" / "dictionaries"
INDEX = FOLDER / "dictionaries.json"
SIZE = 32 * 1024
"""Measured: 16 KiB compresses a little less, 64 KiB hardly more; above 50 KB of body a dictionary does nothing."""
LEVEL = 3
STEPS = 40


def samples(kind: str) -> list[bytes]:
    """What a dictionary learns from."""
    if kind == "hl7v2":
        return [*messages(6000, seed=1), *(one.raw for one in day(1200, seed=7))]
    return list(resources(5000, seed=1))


def train(learned: Sequence[bytes]) -> bytes:
    """A dictionary of `SIZE` bytes."""
    return zstandard.train_dictionary(
        SIZE, list(learned), d=8, steps=STEPS, level=LEVEL, threads=0
    ).as_bytes()


def entries() -> list[dict[str, object]]:
    """The index as it is now."""
    return json.loads(INDEX.read_text("utf-8")) if INDEX.exists() else []  # type: ignore[no-any-return]


def zstd_version() -> str:
    """Of the library, not of the binding."""
    return ".".join(map(str, zstandard.ZSTD_VERSION))


def check() -> None:
    """Fail unless each file has the hash under which it is listed, and the current ones come from the script."""
    for one in entries():
        raw = (FOLDER / str(one["file"])).read_bytes()
        if hashlib.sha256(raw).hexdigest() != one["id"]:
            raise SystemExit(f"{one['file']} is not the dictionary that the index lists")
        if not one["current"] or one["zstd"] != zstd_version():
            continue
        if train(samples(str(one["kind"]))) != raw:
            raise SystemExit(f"{one['file']} is stale: run python scripts/train_dictionaries.py")


def write() -> None:
    """Train both, and list what is new."""
    listed = entries()
    for kind in ("hl7v2", "fhir-json"):
        raw = train(samples(kind))
        name = hashlib.sha256(raw).hexdigest()
        if any(one["id"] == name for one in listed):
            continue
        for one in listed:
            one["current"] = one["current"] and one["kind"] != kind
        file = f"{kind}-{name[:8]}.zdict"
        (FOLDER / file).write_bytes(raw)
        listed.append(
            {"id": name, "kind": kind, "file": file, "current": True, "zstd": zstd_version()}
        )
    INDEX.write_text(json.dumps(listed, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    check() if "--check" in sys.argv[1:] else write()
