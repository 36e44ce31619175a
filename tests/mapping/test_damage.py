"""Bad input is mapped as far as it goes, or refused by name: never an exception, never silence."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.hl7v2.codec import Hl7Error, Message
from adapters.hl7v2.mapping.protocol import IssueCode, Mapped
from tests.mapping.corpus import samples, some
from tests.mapping.damage import DAMAGES
from tests.mapping.judges import by_fhirkit
from tests.mapping.kit import CONTEXT, faults, mapped
from tests.mapping.mapper import default_mapper, written

TraceFunction = Callable[[FrameType, str, Any], Any]
FULL = os.environ.get("MEDMESH_FULL") == "1"

ADMISSION = (
    b"MSH|^~\\&|EMR|NORTH|HIS|NORTH|20240102030405+0100||ADT^A01^ADT_A01|4711|P|2.5.1\r"
    b"EVN|A01|20240102030405+0100\r"
    b"PID|1||815^^^NORTH^MR||Roe^Ann||19800203|F\r"
    b"PV1|1|I|W1^101^1||||1234^Kay^Eve|||||||||||V77\r"
)
RESULT = (
    b"MSH|^~\\&|LAB|NORTH|EMR|NORTH|20240102030405+0100||ORU^R01^ORU_R01|4712|P|2.5.1\r"
    b"PID|1||815^^^NORTH^MR||Roe^Ann||19800203|F\r"
    b"OBR|1|P1|F1|2951-2^Sodium^LN|||20240102\r"
    b"OBX|1|NM|2951-2^Sodium^LN||140|mmol/L^^UCUM|135-145|N|||F\r"
)


@pytest.mark.parametrize("name", sorted(DAMAGES))
def test_damaged_messages_are_mapped_as_far_as_they_go(name: str) -> None:
    rng = random.Random(name)
    wrong = {}
    for number, sample in enumerate(some(50, seed=21)):
        found = mapped(DAMAGES[name](sample.raw, rng))
        if isinstance(found, Mapped):
            problems = faults(found)
            if number % 5 == 0 and found.bundle:
                problems += [str(one) for one in by_fhirkit(written(found.bundle))]
            if problems:
                wrong[sample.name] = problems[:5]
    assert not wrong


@pytest.mark.parametrize("message", [ADMISSION, RESULT], ids=["admission", "result"])
def test_a_message_cut_at_any_byte_maps_as_far_as_it_goes(message: bytes) -> None:
    for end in range(len(message)):
        found = mapped(message[:end])
        assert isinstance(found, Hl7Error) or not faults(found), end


def test_messages_of_all_kinds_cut_at_any_byte_map_as_far_as_they_go() -> None:
    rng = random.Random(22)
    for sample in some(60, seed=22):
        for end in range(len(sample.raw)) if FULL else rng.sample(range(len(sample.raw)), 8):
            found = mapped(sample.raw[:end])
            assert isinstance(found, Hl7Error) or not faults(found), (sample.name, end)


def test_a_result_whose_order_is_cut_off_still_gives_the_patient() -> None:
    found = _mapped(RESULT[: RESULT.index(b"OBR")])
    assert {one["resourceType"] for one in found.resources} >= {"Patient"}


@pytest.mark.parametrize(
    ("before", "after", "codes", "where"),
    [
        (b"PV1|1|I", b"PV1|1|QQQ", {IssueCode.UNMAPPED_CODE}, "PV1"),
        (b"|19800203|F", b"|19800203|QQQ", {IssueCode.UNMAPPED_CODE}, "PID"),
        (b"|19800203|F", b"|not a date|F", {IssueCode.BAD_VALUE}, "PID"),
        (b"PV1|1|I", b"ZXY|1|site's own\rPV1|1|I", {IssueCode.UNKNOWN_SEGMENT}, "ZXY"),
        (
            b"ADT^A01^ADT_A01",
            b"ZZZ^Z99^ZZZ_Z99",
            {IssueCode.STRUCTURE, IssueCode.UNSUPPORTED},
            "MSH",
        ),
        (b"|4711|", b"||", {IssueCode.NO_IDENTIFIER, IssueCode.MISSING}, "MSH"),
    ],
)
def test_what_is_wrong_is_said_by_type_and_place(
    before: bytes, after: bytes, codes: set[IssueCode], where: str
) -> None:
    found = _mapped(ADMISSION.replace(before, after))
    assert any(one.code in codes and one.where.startswith(where) for one in found.issues), (
        found.issues
    )
    assert not faults(found)


def test_bytes_that_are_not_in_the_messages_charset_are_said_and_not_guessed() -> None:
    raw = ADMISSION.replace(b"|2.5.1", b"|2.5.1||||||UNICODE UTF-8").replace(b"Roe", b"R\xf6e")
    found = _mapped(raw)
    assert any(one.code is IssueCode.CHARSET for one in found.issues)
    assert "R\N{REPLACEMENT CHARACTER}e" not in str(found.resources)
    told = _mapped(ADMISSION.replace(b"|2.5.1", b"|2.5.1||||||8859/1").replace(b"Roe", b"R\xf6e"))
    assert "Röe" in str(told.resources)


def test_issues_never_repeat_what_the_message_says() -> None:
    secret = b"Xyzzyplugh"
    for sample in some(60, seed=23):
        raw = sample.raw.replace(b"|M|", b"|" + secret + b"|").replace(b"|F|", b"|" + secret + b"|")
        found = mapped(raw)
        issues = str(found) if isinstance(found, Hl7Error) else str(found.issues)
        assert secret.decode() not in issues


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(
            lambda n: ADMISSION.replace(
                b"815^^^NORTH^MR", b"~".join(b"%d^^^N^MR" % i for i in range(n))
            ),
            id="identifiers",
        ),
        pytest.param(
            lambda n: ADMISSION.replace(b"Roe^Ann", b"~".join([b"Roe^Ann"] * n)), id="names"
        ),
        pytest.param(lambda n: RESULT + RESULT[RESULT.index(b"OBX") :] * n, id="observations"),
        pytest.param(lambda n: RESULT + b"NTE|1||x\r" * n, id="notes"),
        pytest.param(lambda n: RESULT + RESULT[RESULT.index(b"OBR") :] * (n // 2), id="orders"),
        pytest.param(lambda n: ADMISSION + b"ZXY|1|x\r" * n, id="own segments"),
        pytest.param(lambda n: ADMISSION.replace(b"Roe^Ann", b"Roe" + b"^" * n), id="components"),
    ],
)
def test_work_grows_with_size_and_not_with_its_square(build: Callable[[int], bytes]) -> None:
    _work(build(5))  # what is made once
    small = _work(build(60))
    assert _work(build(600), at_most=14 * small) <= 14 * small


def test_twenty_thousand_repetitions_are_mapped_or_refused_by_an_issue() -> None:
    raw = ADMISSION.replace(b"815^^^NORTH^MR", b"~".join(b"%d^^^N^MR" % i for i in range(20_000)))
    found = _mapped(raw)
    assert found.resources
    assert not faults(found)


@settings(
    max_examples=400 if FULL else 60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(
    which=st.integers(0, 2**16),
    cuts=st.lists(st.tuples(st.integers(0, 2**16), st.binary(max_size=6)), min_size=1, max_size=5),
    mark=st.sampled_from([b"|", b"^", b"~", b"&", b"\r", b"\\", b"\\X41\\", b'""', b""]),
)
def test_any_edit_of_any_message_gives_a_mapping_or_a_refusal(
    which: int, cuts: list[tuple[int, bytes]], mark: bytes
) -> None:
    found = samples()
    raw = found[which % len(found)].raw[:20_000]
    for place, piece in cuts:
        at = place % (len(raw) + 1)
        raw = raw[:at] + mark + piece + raw[at + len(piece) :]
    made = mapped(raw)
    assert isinstance(made, Hl7Error) or not faults(made)


@settings(max_examples=300 if FULL else 60, deadline=None)
@given(
    segments=st.lists(
        st.tuples(
            st.sampled_from(
                [
                    "PID",
                    "PV1",
                    "OBR",
                    "OBX",
                    "NTE",
                    "ORC",
                    "AL1",
                    "DG1",
                    "IN1",
                    "NK1",
                    "EVN",
                    "SPM",
                    "TXA",
                    "SCH",
                    "RXA",
                    "MRG",
                    "ZZZ",
                ]
            ),
            st.lists(st.text(st.sampled_from('ab01"^&~\\ .-+é'), max_size=12), max_size=20),
        ),
        max_size=12,
    ),
    kind=st.sampled_from(
        [
            "ADT^A01",
            "ADT^A40",
            "ORU^R01",
            "ORM^O01",
            "SIU^S12",
            "MDM^T02",
            "VXU^V04",
            "DFT^P03",
            "ADT",
            "",
        ]
    ),
)
def test_segments_of_any_content_in_any_order_give_a_mapping(
    segments: list[tuple[str, list[str]]], kind: str
) -> None:
    lines = [f"MSH|^~\\&|A|B|C|D|20240102||{kind}|1|P|2.5"]
    lines += ["|".join([name, *fields]) for name, fields in segments]
    found = _mapped("\r".join(lines).encode())
    assert not faults(found)
    assert not (found.bundle and by_fhirkit(written(found.bundle)))


def _mapped(raw: bytes) -> Mapped:
    return default_mapper().map(Message.parse(raw), CONTEXT)


class _TooMuch(BaseException):
    """Ends a mapping that does more than is allowed. No `Exception`: nobody shall catch it."""


def _work(raw: bytes, at_most: int = sys.maxsize) -> int:
    """How many bytecodes a mapping runs; what goes beyond `at_most` ends there."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> TraceFunction:
        nonlocal count
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            count += 1
            if count > at_most:
                raise _TooMuch
        return trace

    mapper, message = default_mapper(), Message.parse(raw)
    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        mapper.map(message, CONTEXT)
    except _TooMuch:
        return count
    finally:
        sys.settrace(previous)
    return count
