"""A message's bytes as lines, with everything that stands around them, so that they can be put together again."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from adapters.hl7v2.codec.cutting import cut
from adapters.hl7v2.codec.errors import LimitExceeded
from adapters.hl7v2.codec.findings import Finding, Quirk
from adapters.hl7v2.codec.limits import Limits

_ANY_END: Final = re.compile(rb"(\r\n|\r|\n)")
_CR_OR_CRLF: Final = re.compile(rb"(\r\n|\r)")
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Lines:
    """`prefix + line + end + line + ... + suffix`: the message. A line can be a segment, junk or blank."""

    lines: list[bytes]
    end: bytes
    """What ends each line; empty when they differ: then `ends` has one for each line but the last."""
    ends: list[bytes]
    prefix: bytes = b""
    suffix: bytes = b""

    def join(self, lines: list[bytes]) -> bytes:
        """The message with `lines` in place of its own."""
        if self.end:
            return self.prefix + self.end.join(lines) + self.suffix
        out = [self.prefix]
        for line, end in zip(lines, [*self.ends, b""], strict=True):
            out += (line, end)
        return b"".join(out) + self.suffix

    def offsets(self) -> list[int]:
        """Where each line starts in the message."""
        at, out = len(self.prefix), []
        for i, line in enumerate(self.lines):
            out.append(at)
            end = self.end or (self.ends[i] if i < len(self.ends) else b"")
            at += len(line) + len(end)
        return out


def cut_lines(body: bytes, start: int, header_end: int, limits: Limits) -> Lines:
    """Cut a message into lines. What ends MSH decides: after a CR, a bare LF further on is data; after an LF, both end.

    Raises `LimitExceeded` before cutting.
    """
    stop = _stop(body)
    if start or stop < len(body):
        prefix, region, suffix = body[:start], body[start:stop], body[stop:]
    else:
        prefix, region, suffix = b"", body, b""
    if b"\n" not in region:
        return _uniform(region, b"\r", prefix, suffix, limits)
    if b"\r" not in region:
        return _uniform(region, b"\n", prefix, suffix, limits)
    if body[header_end : header_end + 1] == b"\n":
        return _mixed(region, _ANY_END, prefix, suffix, limits)
    pairs = region.count(b"\r\n")
    if pairs == region.count(b"\r") == region.count(b"\n"):
        return _uniform(region, b"\r\n", prefix, suffix, limits)
    if region.endswith(b"\n") and not region.endswith(b"\r\n"):
        # bare line feeds at the very end separated messages in a file
        kept = region.rstrip(b"\n")
        kept += b"\n" if kept.endswith(b"\r") and pairs else b""
        suffix, region = region[len(kept) :] + suffix, kept
    if not pairs:
        return _uniform(region, b"\r", prefix, suffix, limits)
    return _mixed(region, _CR_OR_CRLF, prefix, suffix, limits)


def _stop(body: bytes) -> int:
    """Where MLLP's end block begins, if the message still has it."""
    tail = body[-3:]
    if b"\x1c" in tail and not tail.rpartition(b"\x1c")[2].strip(b"\r\n"):
        return len(body) - len(tail) + tail.index(b"\x1c")
    return len(body)


def _uniform(region: bytes, end: bytes, prefix: bytes, suffix: bytes, limits: Limits) -> Lines:
    lines = cut(region, end, limits.max_segments)
    if lines is None:
        raise _too_many(limits)
    return Lines(lines, end, [], prefix, suffix)


def _mixed(
    region: bytes, ends: re.Pattern[bytes], prefix: bytes, suffix: bytes, limits: Limits
) -> Lines:
    if region.count(b"\r") + region.count(b"\n") > limits.max_segments:
        raise _too_many(limits)
    parts = ends.split(region)
    return Lines(parts[::2], b"", parts[1::2], prefix, suffix)


def _too_many(limits: Limits) -> LimitExceeded:
    return LimitExceeded(f"more than the {limits.max_segments} segments that are allowed")


@lru_cache(maxsize=256)
def segment_start(mark: bytes) -> re.Pattern[bytes]:
    """Matches a line that is a segment: a name of table 0076's shape, then the field separator or nothing."""
    return re.compile(rb"[A-Z][A-Z0-9]{2}(?:" + re.escape(mark) + rb"|\Z)")


def quirks_of(body: Lines, mark: bytes) -> list[Finding]:
    """What the lines and what stands around them show."""
    out = _around(body)
    is_segment = segment_start(mark).match
    last = len(body.lines) - 1
    blank = [i for i, line in enumerate(body.lines) if not line.strip() and i != last]
    junk = [i for i, line in enumerate(body.lines) if line.strip() and not is_segment(line)]
    headers = [i for i, line in enumerate(body.lines) if line.startswith(b"MSH" + mark)][1:]
    fed = [i for i, line in enumerate(body.lines) if b"\n" in line]
    for quirk, found in (
        (Quirk.BLANK_LINES, blank),
        (Quirk.JUNK_LINES, junk),
        (Quirk.SEVERAL_HEADERS, headers),
        (Quirk.LF_IN_FIELD, fed),
    ):
        if found:
            out.append(Finding(quirk, len(found), found[0] + 1))
    if body.lines[last]:
        out.append(Finding(Quirk.MISSING_FINAL_TERMINATOR, 1, last + 1))
    return out


def _around(body: Lines) -> list[Finding]:
    ends = {body.end or b"", *body.ends} - {b""}
    has_feeds = b"\n" in body.suffix.replace(b"\r\n", b"")
    shown = {
        Quirk.BYTE_ORDER_MARK: _BOM in body.prefix,
        Quirk.MLLP_BYTES: b"\x0b" in body.prefix or b"\x1c" in body.suffix,
        Quirk.LEADING_BLANKS: bool(body.prefix.replace(_BOM, b"").strip(b"\x0b")),
        Quirk.LF_TERMINATORS: ends == {b"\n"},
        Quirk.CRLF_TERMINATORS: ends == {b"\r\n"},
        Quirk.MIXED_TERMINATORS: len(ends) > 1 or (has_feeds and ends != {b"\n"}),
    }
    return [Finding(quirk) for quirk, is_shown in shown.items() if is_shown]


__all__ = ["Lines", "cut_lines", "quirks_of", "segment_start"]
