from __future__ import annotations

import pytest

from adapters.hl7v2.codec.errors import CharsetError, HeaderMissing, LimitExceeded
from adapters.hl7v2.codec.filter import compile_filter
from adapters.hl7v2.codec.limits import Limits
from adapters.hl7v2.codec.message import Message
from schemas.expression import ExpressionError

RAW = (
    b"MSH|^~\\&|LAB|MAIN|EMR|MAIN|2024||ORU^R01^ORU_R01|1|P|2.5.1\r"
    b'PID|1||11^^^H^MR~22^^^SSA^SS||DOE^JANE|""\r'
    b"OBX|1|NM|GLU^Glucose||5.1\r"
    b"OBX|2|TX|NOTE||see\r"
    b"OBX|3|NM|NA||141\r"
)


@pytest.mark.parametrize(
    ("text", "is_wanted"),
    [
        ("MSH-9.1 in ('ADT','ORM') and PID-3 valued", False),
        ("MSH-9.1 in ('ORU', 'ORM') and PID-3 valued", True),
        ("MSH-9 = 'ORU^R01^ORU_R01'", True),
        ("PID-3.4 = 'SSA'", True),
        ("PID-3[1].4 = 'SSA'", False),
        ("PID-3.4 != 'SSA'", False),
        ("PID-6 valued", False),
        ("PID-6 = '\"\"'", True),
        ("PID-8 not valued", True),
        ("NK1 valued", False),
        ("OBX valued", True),
        ("count(OBX) = 3 and count(OBX[2]) = 1", True),
        ("count(OBX-5) >= 3", True),
        ("count(PID-3) > 2", False),
        ("OBX-5 > 140", True),
        ("OBX[1]-5 > 140", False),
        ("OBX[*]-5 = 5.10", True),
        ("length(PID-5.1) = 3", True),
        ("OBX-3.1 starts with 'GL'", True),
        ("OBX-3.2 matches 'G*se'", True),
        ("not MSH-3 = 'LAB' or MSH-4 = 'NORTH'", False),
    ],
)
def test_a_filter_reads_the_message(text: str, is_wanted: bool) -> None:
    accepts = compile_filter(text)
    assert accepts(RAW) is is_wanted
    assert accepts(Message.parse(RAW)) is is_wanted


@pytest.mark.parametrize(
    "text", ["PID.3 valued", "pid-3 valued", "PID-3[0] = 'x'", "MSH-9.1 == 'ADT'"]
)
def test_a_wrong_filter_is_refused_when_it_is_compiled(text: str) -> None:
    with pytest.raises(ExpressionError, match=r"\^"):
        compile_filter(text)


def test_a_filter_over_bytes_uses_the_link_s_charset_and_limits() -> None:
    raw = RAW.replace(b"JANE", b"J\xfcrg")
    assert compile_filter("PID-5.2 = 'Jürg'", charset="8859/1")(raw)
    assert compile_filter("PID-5.2 = 'Jürg'", fallback=["8859/1"])(raw)
    with pytest.raises(CharsetError):
        compile_filter("PID-5.2 = 'Jürg'")(raw)
    with pytest.raises(LimitExceeded):
        compile_filter("PID valued", limits=Limits(max_message_bytes=10))(raw)
    with pytest.raises(HeaderMissing):
        compile_filter("PID valued")(b"x")
