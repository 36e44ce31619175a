"""HL7 table 0155 against what is true."""

from __future__ import annotations

import pytest

from adapters.hl7v2.codec.acknowledgement import AckCode
from adapters.hl7v2.verdict import ACCEPTED, Verdict, VerdictKind, accept_code, application_code

ERROR = Verdict(kind=VerdictKind.ERROR)
REJECT = Verdict(kind=VerdictKind.REJECT)


@pytest.mark.parametrize(
    ("condition", "verdict", "expected"),
    [
        ("AL", ACCEPTED, AckCode.CA),
        ("AL", ERROR, AckCode.CE),
        ("AL", REJECT, AckCode.CR),
        ("al ", ACCEPTED, AckCode.CA),
        ("SU", ACCEPTED, AckCode.CA),
        ("SU", ERROR, None),
        ("ER", ACCEPTED, None),
        ("ER", REJECT, AckCode.CR),
        ("NE", ACCEPTED, None),
        ("NE", ERROR, None),
        ("", ACCEPTED, None),
        ("??", ACCEPTED, None),
    ],
)
def test_accept_answer_follows_the_condition(
    condition: str, verdict: Verdict, expected: AckCode | None
) -> None:
    assert accept_code(condition, verdict) is expected


@pytest.mark.parametrize("condition", ["AL", "ER", "SU", "NE", "", "x"])
@pytest.mark.parametrize("verdict", [ERROR, REJECT])
def test_nothing_negative_is_ever_said_positively(condition: str, verdict: Verdict) -> None:
    for code in (accept_code(condition, verdict), application_code(condition, verdict)):
        assert code is None or not code.is_accepted
