"""The same message gives the same bundle: again, in another process, on another day, in another order."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import pytest

from adapters.hl7v2.codec import Hl7Error, Message
from adapters.hl7v2.mapping.protocol import MapContext, Output
from tests.mapping.corpus import some
from tests.mapping.kit import CONTEXT, fingerprints, ids, mapped
from tests.shared_data import ROOT

COUNT, SEED = 120, 11
_PRINT = (
    "import json, sys; from tests.mapping.corpus import some; from tests.mapping.kit import fingerprints; "
    f"print(json.dumps(fingerprints(some({COUNT}, seed={SEED}))))"
)


@pytest.mark.parametrize("hash_seed", ["1", "4711"])
def test_another_process_makes_the_same(hash_seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "TZ": "Asia/Tokyo"}
    here = fingerprints(some(COUNT, seed=SEED))
    done = subprocess.run(
        [sys.executable, "-c", _PRINT], cwd=ROOT, env=environment, capture_output=True, timeout=100
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert json.loads(done.stdout) == here


def test_the_order_of_messages_does_not_matter() -> None:
    chosen = some(COUNT, seed=SEED)
    before = fingerprints(chosen)
    random.Random(SEED).shuffle(chosen)
    assert fingerprints(chosen) == before


def test_a_resend_at_another_time_under_another_control_id_keeps_the_ids_of_patient_and_visit() -> (
    None
):
    compared = 0
    for sample in some(COUNT, seed=SEED):
        first, again = mapped(sample.raw), mapped(_resent(sample.raw))
        if isinstance(first, Hl7Error) or isinstance(again, Hl7Error):
            continue
        kinds = _identified(Message.parse(sample.raw))
        before = [one for one in ids(first) if one.startswith(kinds)]
        assert [one for one in ids(again) if one.startswith(kinds)] == before, sample.name
        compared += bool(before)
    assert compared > COUNT // 4


def _identified(message: Message) -> tuple[str, ...]:
    """Types whose identifier the message gives; of what has none, an id can only be made of the message itself."""
    places = {"Patient/": "PID-3.1", "Encounter/": "PV1-19.1"}
    return tuple(kind for kind, place in places.items() if message.count(place) == 1)


def test_two_tenants_share_no_id() -> None:
    for sample in some(30, seed=SEED):
        here, there = (
            mapped(sample.raw),
            mapped(sample.raw, MapContext(tenant="south", zone=CONTEXT.zone)),
        )
        if not isinstance(here, Hl7Error) and not isinstance(there, Hl7Error):
            assert not set(ids(here)) & set(ids(there))


@pytest.mark.parametrize("output", list(Output))
def test_mapping_does_not_change_what_it_is_given(output: Output) -> None:
    chosen = some(30, seed=SEED)
    assert fingerprints(chosen, output) == fingerprints(chosen, output)


def _resent(raw: bytes) -> bytes:
    first, mark, rest = raw.partition(b"\r")
    if not mark:
        first, mark, rest = raw.partition(b"\n")
    separator = first[3:4]
    fields = first.split(separator)
    fields += [b""] * (12 - len(fields))
    fields[6], fields[9] = b"20310203040506+0000", b"RESENT" + fields[9][:10]
    return separator.join(fields) + mark + rest
