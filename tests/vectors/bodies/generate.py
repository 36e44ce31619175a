"""Write the vectors: `python -m tests.vectors.bodies.generate`. Only for a new version of the encodings."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from schemas.generated.medmesh.content.v1 import content_pb2 as pb
from tests.faults.bodies.test_hostile_bodies import CASES
from tests.unit.bus.bodies.kit import FHIR, MESSAGE, RESOURCE, V2, content, sender

FILE = Path(__file__).parent / "bodies.json"
BODIES = (
    (V2, MESSAGE),
    (V2, MESSAGE * 120),
    (V2, b"MSH|^~\\&|A\r"),
    (FHIR, RESOURCE),
    ("text/xml", b"<note>example</note>" * 40),
    ("medmesh/dead-letter", MESSAGE),
    ("application/octet-stream", b""),
)
_LONGEST_REFUSAL = 4096


def fields(held: pb.Content) -> dict[str, Any]:
    """A content as its vector says it."""
    return {
        "encoding": int(held.encoding),
        "dictionary_id": held.dictionary_id.hex(),
        "raw_size": int(held.raw_size),
        "body": held.body.hex(),
    }


def digest(raw: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(raw).hexdigest()


def vectors() -> dict[str, Any]:
    """Everything that the file holds."""
    codec = sender()
    return {
        "bodies": [
            {
                "type": kind,
                **fields(content(codec.encode(kind, raw), len(raw))),
                "sha256": digest(raw),
            }
            for kind, raw in BODIES
        ],
        "refusals": [
            {"name": name, **fields(held), "reason": reason}
            for name, (held, reason) in CASES.items()
            if len(held.body) <= _LONGEST_REFUSAL
        ],
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors(), indent=1) + "\n", "utf-8")
