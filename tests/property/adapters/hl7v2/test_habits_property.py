"""What is remembered of a sender is what would be worked out anew, for whatever it sends and however often."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.hl7v2.codec.ack_codes import AckCode
from adapters.hl7v2.codec.acknowledgement import AckTemplate, build_acknowledgement
from adapters.hl7v2.codec.errors import Hl7Error
from adapters.hl7v2.codec.header import Header, peek
from adapters.hl7v2.config import MllpServerConfig
from adapters.hl7v2.convert import Intent, to_event
from adapters.hl7v2.habits import Habits, habit_of
from tests.unit.adapters.parts import SITE, SITE_KEY, message

CONFIG = MllpServerConfig.model_validate(
    {"name": "emr-in", "kind": "hl7v2.mllp-server", "listen": ":0"}
)
FIELD = st.sampled_from(
    [
        "",
        "A",
        "B^C",
        "ADT^A01",
        "ORU^R01^ORU_R01",
        "X^^",
        "P",
        "T",
        "Q",
        "P^A",
        "2.3",
        "2.5.1",
        "2.7",
        "x",
        "AL",
        "NE",
        "ER",
        "SU",
        " al ",
        "8859/1",
        "UNICODE UTF-8",
        "ASCII~ISO IR87",
        "GB 18030-2000",
        "nonsense",
        "Müller",
        "\x1b$B",
        "\x00",
    ]
)
MSH = st.builds(
    lambda marks, fields: f"MSH{marks}{marks[0].join(('', *fields))}\rPID|1||P7^^^H\r".encode(
        "latin-1"
    ),
    st.sampled_from(["|^~\\&", "|^~\\&#", "|", "|^", "!*%@+", "^"]),
    st.lists(FIELD, max_size=25),
)
RAW = st.one_of(
    MSH,
    MSH.map(lambda raw: raw.decode("latin-1").encode("utf-16-le")),
    MSH.map(lambda raw: raw.replace(b"|A", b"|" + b"A" * 2000)),
    st.binary(max_size=60).map(lambda tail: message("C1")[:60] + tail),
)


def headers(raws: list[bytes]) -> list[tuple[bytes, Header]]:
    found = []
    for raw in raws:
        try:
            found.append((raw, peek(raw, charset=CONFIG.charset)))
        except Hl7Error:
            continue
    return found


@given(raws=st.lists(RAW, min_size=1, max_size=6))
@settings(max_examples=300)
def test_a_habit_that_is_remembered_is_the_one_worked_out_anew(raws: list[bytes]) -> None:
    habits = Habits(CONFIG)
    for _, header in headers(raws) * 2:
        assert habits.of(header) == habit_of(header, CONFIG)


@given(raw=RAW, control_id=st.from_regex(r"[A-Z0-9]{1,20}\Z"), now_ms=st.integers(0, 10**13))
@settings(max_examples=300)
def test_an_answer_from_a_habit_is_the_answer_built_for_its_message(
    raw: bytes, control_id: str, now_ms: int
) -> None:
    for _, header in headers([raw]):
        habit = Habits(CONFIG).of(header)
        if habit.code is not None:
            assert habit.answer is not None
            filled = habit.answer.fill(
                control_id=control_id, now_ms=now_ms, answered=header.raw(10)
            )
            assert filled == build_acknowledgement(
                header, habit.code, control_id=control_id, now_ms=now_ms
            )


@given(raw=RAW)
def test_an_event_of_a_known_kind_is_the_event_of_its_message(raw: bytes) -> None:
    intent = Intent(
        site=SITE,
        site_key=SITE_KEY,
        adapter="emr-in",
        event="hl7v2",
        charset=CONFIG.charset,
        receipts_from=(),
        random_bytes=bytes,
    )
    for message_, header in headers([raw]):
        kind = Habits(CONFIG).of(header).kind
        known = to_event(message_, header, intent, received_ms=5, kind=kind)
        assert known == to_event(message_, header, intent, received_ms=5)


def test_nothing_but_the_habit_is_remembered() -> None:
    shown = repr(Habits(CONFIG).of(peek(message("CONTROL-7", patient="P7"))))
    assert "CONTROL-7" not in shown
    template = AckTemplate.of(peek(message("CONTROL-7", patient="P7")), AckCode.AA)
    held = template.until_date + template.until_control_id + template.until_answered
    assert b"CONTROL-7" not in held
    assert b"P7" not in held


def test_a_sender_that_changes_its_header_with_every_message_does_not_fill_the_memory() -> None:
    habits = Habits(CONFIG)
    for number in range(600):
        raw = message("C1").replace(b"EMR", b"EMR%d" % number)
        assert habits.of(peek(raw)).answer is not None
    assert len(habits) == 512
