"""Our parser against nats-py's own, under every split; and against a server that means harm."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.errors import ProtocolError
from nats.protocol.parser import Parser as ClientParser

from bus.transport.nats.parsing import MAX_LINE_BYTES, Parser

Seen = tuple[object, ...]
quick = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])

RECORDED = (
    b'INFO {"server_id":"NB","version":"2.15.1","proto":1,"headers":true,"max_payload":8388608}\r\n'
    b"PONG\r\n"
    b"MSG evt.north.raw.x.1 1 5\r\nhello\r\n"
    b"MSG rpc.echo 2 _INBOX.aa.0 0\r\n\r\n"
    b"PING\r\n"
    b"HMSG _INBOX.aa.1 2 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"
    b"HMSG a 1 $JS.ACK.S.c.1.2.3.4.5 20 29\r\nNATS/1.0\r\nK: v\r\n\r\nMSG a 1 1\r\n\r\n"
    b"+OK\r\n"
    b"-ERR 'Permissions Violation for Publish to \"secret.x\"'\r\n"
    b"MSG a 1 4\r\n\r\n\r\n\r\n"
    b"MSG gone 99 2\r\nhi\r\n"
    b"PONG\r\n"
)


@dataclass
class Client:
    """What nats-py's parser calls of its client; also what our handlers call."""

    seen: list[Seen] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    failed: list[Exception] = field(default_factory=list)

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, payload: bytes, headers: bytes | None
    ) -> None:
        if sid in (1, 2):
            self.take(sid, subject, reply, headers, payload)

    def take(
        self, sid: int, subject: bytes, reply: bytes, headers: bytes | None, payload: bytes
    ) -> None:
        self.seen.append((sid, subject, reply, headers, payload))

    async def _process_err(self, said: str) -> None:
        self.seen.append(("err", said))

    async def _process_ping(self) -> None:
        self.seen.append(("ping",))

    async def _process_pong(self) -> None:
        self.seen.append(("pong",))

    async def _process_info(self, info: object) -> None:
        self.seen.append(("info", str(info)))


def ours(client: Client) -> Parser:
    control = ClientParser(client)
    parser = Parser(control, failed=client.failed.append, broken=client.broken.append)
    for sid in (1, 2):
        parser.handlers[b"%d" % sid] = lambda *got, sid=sid: client.take(sid, *got)
    return parser


def run(parser: Parser | ClientParser, chunks: Iterable[bytes]) -> None:
    async def feed() -> None:
        for chunk in chunks:
            await parser.parse(chunk)

    asyncio.run(feed())


def as_nats_py_sees(stream: bytes) -> list[Seen]:
    client = Client()
    run(ClientParser(client), [stream])
    return client.seen


def cut(stream: bytes, places: Sequence[int]) -> list[bytes]:
    ends = sorted({place % (len(stream) + 1) for place in places} | {len(stream)})
    return [stream[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def test_recorded_stream_has_what_nats_py_finds_under_every_cut_in_two() -> None:
    expected = as_nats_py_sees(RECORDED)
    assert len(expected) == 10
    for place in range(len(RECORDED) + 1):
        client = Client()
        run(ours(client), [RECORDED[:place], RECORDED[place:]])
        assert client.seen == expected, f"cut at {place}"
        assert client.broken == []


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_recorded_stream_comes_in_small_pieces(size: int) -> None:
    client = Client()
    run(ours(client), [RECORDED[i : i + size] for i in range(0, len(RECORDED), size)])
    assert client.seen == as_nats_py_sees(RECORDED)


words = st.text("abcXYZ019._-$*>", min_size=1, max_size=12).map(str.encode)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    subject, sid = draw(words), draw(st.sampled_from([b"1", b"2", b"3"]))
    reply = draw(st.one_of(st.just(b""), words))
    payload = draw(st.binary(max_size=60))
    parts = [subject, sid, *([reply] if reply else [])]
    if draw(st.booleans()):
        block = b"NATS/1.0\r\n" + draw(st.binary(min_size=1, max_size=30)) + b"\r\n\r\n"
        parts += [b"%d" % len(block), b"%d" % (len(block) + len(payload))]
        return b"HMSG " + b" ".join(parts) + b"\r\n" + block + payload + b"\r\n"
    parts.append(b"%d" % len(payload))
    return b"MSG " + b" ".join(parts) + b"\r\n" + payload + b"\r\n"


controls = st.sampled_from(
    [b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR 'no'\r\n", b'INFO {"a":1}\r\n']
)


@quick
@given(
    st.lists(st.one_of(messages(), controls), max_size=12).map(b"".join),
    st.lists(st.integers(min_value=0, max_value=5000), max_size=12),
)
def test_any_stream_under_any_cut_has_what_nats_py_finds(stream: bytes, places: list[int]) -> None:
    client = Client()
    run(ours(client), cut(stream, places))
    assert client.seen == as_nats_py_sees(stream)
    assert client.broken == []


def held(parser: Parser) -> int:
    """Bytes that a parser keeps."""
    return len(parser._rest) + sum(map(len, parser._chunks))


@quick
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=80),
            messages(),
            controls,
            st.builds(
                lambda op, size: b"%b a 1 %b\r\n" % (op, size),
                st.sampled_from([b"MSG", b"HMSG", b"HMSG a 1 r"]),
                st.sampled_from([b"-1", b"99999999999", b"x", b"1e3", b"+2", b"0 -5", b"9 3"]),
            ),
        ),
        max_size=10,
    )
)
def test_harmful_bytes_give_messages_or_end_the_connection_with_a_reason(
    chunks: list[bytes],
) -> None:
    client = Client()
    parser = ours(client)
    try:
        run(parser, chunks)
    except ProtocolError:
        assert len(client.broken) == 1
        assert client.broken[0]
        assert parser.handlers == {}
        assert held(parser) == 0
    else:
        assert client.broken == []
        assert held(parser) <= sum(map(len, chunks))


@pytest.mark.parametrize("size", [16, 999, 4096, 70_000])
def test_line_without_an_end_is_given_up_at_its_bound(size: int) -> None:
    client = Client()
    parser = ours(client)
    for _ in range(MAX_LINE_BYTES // size):
        parser.feed(b"x" * size)
    assert held(parser) == MAX_LINE_BYTES // size * size
    with pytest.raises(ProtocolError):
        parser.feed(b"x" * (size + size))
    assert client.broken == ["overlong control line"]
    assert held(parser) == 0
