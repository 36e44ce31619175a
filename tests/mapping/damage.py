"""Messages as broken senders, middlemen and cables leave them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Final

Damage = Callable[[bytes, random.Random], bytes]


def _fields(raw: bytes, segment: bytes) -> tuple[list[bytes], int, bytes]:
    """Lines, the index of the first segment of that name (-1: none), and the field separator."""
    lines = raw.replace(b"\r\n", b"\r").replace(b"\n", b"\r").split(b"\r")
    at = next((i for i, line in enumerate(lines) if line.startswith(segment)), -1)
    start = raw.find(b"MSH")
    return lines, at, raw[start + 3 : start + 4] or b"|"


def _with_field(raw: bytes, segment: bytes, number: int, value: bytes) -> bytes:
    lines, at, mark = _fields(raw, segment)
    if at < 0:
        return raw
    parts = lines[at].split(mark)
    index = number - 1 if segment == b"MSH" else number
    parts += [b""] * (index + 1 - len(parts))
    parts[index] = value
    lines[at] = mark.join(parts)
    return b"\r".join(lines)


def truncated(raw: bytes, rng: random.Random) -> bytes:
    """Cut at any byte."""
    return raw[: rng.randrange(len(raw))]


def wrong_version(raw: bytes, rng: random.Random) -> bytes:
    """MSH-12 names a version that is old, new, none or nonsense."""
    return _with_field(
        raw, b"MSH", 12, rng.choice((b"", b"2.1", b"2.9", b"3.0", b"9.9.9", b"banana", b"^"))
    )


def missing_header_field(raw: bytes, rng: random.Random) -> bytes:
    """MSH-7, -9, -10, -11 or -12 is empty."""
    return _with_field(raw, b"MSH", rng.choice((7, 9, 10, 11, 12)), b"")


def unknown_type(raw: bytes, rng: random.Random) -> bytes:
    """MSH-9 names a message that nobody has defined, or half of one."""
    return _with_field(
        raw,
        b"MSH",
        9,
        rng.choice((b"ZZZ^Z99", b"ADT", b"^A01", b"ORU^R99^ORU_R99", b"ADT^A01^ORU_R01")),
    )


def z_segments(raw: bytes, rng: random.Random) -> bytes:
    """A segment of the site's own, anywhere after MSH."""
    lines, _, mark = _fields(raw, b"MSH")
    own = mark.join((b"ZXY", b"1", b"some^local&thing", b"20240101"))
    lines.insert(rng.randrange(1, len(lines) + 1), own)
    return b"\r".join(lines)


def local_codes(raw: bytes, rng: random.Random) -> bytes:
    """A code of the site's own where a table is expected."""
    places = (
        (b"PID", 8),
        (b"PV1", 2),
        (b"PID", 16),
        (b"OBX", 8),
        (b"OBX", 11),
        (b"OBR", 25),
        (b"ORC", 1),
        (b"OBX", 2),
    )
    present = [place for place in places if _fields(raw, place[0])[1] >= 0]
    return _with_field(raw, *rng.choice(present), b"QZQ^Our own^99LOCAL") if present else raw


def latin_1(raw: bytes, rng: random.Random) -> bytes:
    """Encoded in 8859-1, which MSH-18 says or does not say."""
    told = _with_field(raw, b"PID", 5, "MÜLLER^JÜRGEN".encode())
    told = _with_field(told, b"MSH", 18, rng.choice((b"8859/1", b"", b"UNICODE UTF-8", b"ASCII")))
    return told.decode("utf-8", "replace").encode("latin-1", "replace")


def utf_16(raw: bytes, rng: random.Random) -> bytes:
    """Encoded in UTF-16, with or without a byte order mark."""
    return raw.decode("utf-8", "replace").encode(rng.choice(("utf-16", "utf-16-le", "utf-16-be")))


def wrong_charset_name(raw: bytes, rng: random.Random) -> bytes:
    """MSH-18 names a set that the bytes are not in, or none that exists."""
    told = _with_field(raw, b"PID", 5, "Ñandú^Zoë".encode())
    return _with_field(
        told,
        b"MSH",
        18,
        rng.choice((b"UNICODE UTF-16", b"KLINGON", b"ISO IR87", b"GB 18030-2000", b"~")),
    )


def other_delimiters(raw: bytes, rng: random.Random) -> bytes:
    """MSH-2 says other separators than the message uses, or fewer."""
    return _with_field(raw, b"MSH", 2, rng.choice((b"^", b"^~", b"$%!*", b"^~\\&#", b"&~\\^")))


def shuffled(raw: bytes, rng: random.Random) -> bytes:
    """Segments after MSH in any order."""
    lines, _, _ = _fields(raw, b"MSH")
    rest = lines[1:]
    rng.shuffle(rest)
    return b"\r".join(lines[:1] + rest)


def without_a_segment(raw: bytes, rng: random.Random) -> bytes:
    """One segment is gone."""
    lines, _, _ = _fields(raw, b"MSH")
    if len(lines) > 2:
        del lines[rng.randrange(1, len(lines))]
    return b"\r".join(lines)


def noise(raw: bytes, rng: random.Random) -> bytes:
    """A few bytes replaced."""
    body = bytearray(raw)
    for _ in range(rng.randrange(1, 8)):
        body[rng.randrange(8, len(body))] = rng.choice(b'|^~\\&\r\n"\x00\xff A1')
    return bytes(body)


def nulls(raw: bytes, rng: random.Random) -> bytes:
    """Some fields hold an explicit null."""
    lines, _, mark = _fields(raw, b"MSH")
    at = rng.randrange(1, len(lines)) if len(lines) > 1 else 0
    if at:
        parts = lines[at].split(mark)
        lines[at] = mark.join(
            [parts[0], *(b'""' if rng.random() < 0.5 else part for part in parts[1:])]
        )
    return b"\r".join(lines)


DAMAGES: Final[Mapping[str, Damage]] = {
    one.__name__: one
    for one in (
        truncated,
        wrong_version,
        missing_header_field,
        unknown_type,
        z_segments,
        local_codes,
        latin_1,
        utf_16,
        wrong_charset_name,
        other_delimiters,
        shuffled,
        without_a_segment,
        noise,
        nulls,
    )
}


__all__ = ["DAMAGES", "Damage"]
