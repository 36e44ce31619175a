"""HL7 table 0211: from the names in MSH-18 to codecs. Strict: a byte that is not in the set is an error, never a `?`.

Sources: HL7 v2.5.1 section 2.15.9.18 and table 0211.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from adapters.hl7v2.codec.errors import CharsetError

_LONGEST_NAME: Final = 64
_C1: Final = re.compile(rb"[\x80-\x9f]")


class Structure(Enum):
    """What a byte-wise reader may assume about a character set."""

    ASCII_SAFE = "ascii_safe"
    """Delimiter bytes only ever mean delimiters."""
    LINE_SAFE = "line_safe"
    """Delimiter bytes can be the second half of a character; CR and LF only ever mean themselves."""
    WIDE = "wide"
    """Every character has two bytes or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charset:
    """A character set and how to read it. `name` is HL7's name or the link's, `codec` Python's."""

    name: str
    codec: str
    structure: Structure = Structure.ASCII_SAFE
    no_c1: bool = False
    """ISO 8859 has no characters at 0x80 to 0x9F: bytes there are mislabelled Windows text."""

    def decode(self, raw: bytes, *, location: str = "", offset: int = 0) -> str:
        """Decode strictly. `offset` is where `raw` lies in the message. Raises `CharsetError`."""
        if self.no_c1 and (found := _C1.search(raw)):
            raise CharsetError(
                f"a byte that is not in {self.name} (Windows text?); "
                "declare the right set in MSH-18 or give the link a fallback charset",
                location=location,
                position=offset + found.start(),
            )
        try:
            return raw.decode(self.codec)
        except UnicodeDecodeError as err:
            raise CharsetError(
                f"bytes that are not {self.name}; declare the right set in MSH-18 or give the link a fallback charset",
                location=location,
                position=offset + err.start,
            ) from None

    def encode(self, text: str, *, location: str = "") -> bytes:
        """Encode strictly. Raises `CharsetError` when a character is not in the set."""
        try:
            raw = text.encode(self.codec)
        except UnicodeEncodeError:
            raw = None
        if raw is None or (self.no_c1 and _C1.search(raw)):
            raise CharsetError(f"a character that is not in {self.name}", location=location)
        return raw

    def accepts(self, raw: bytes) -> bool:
        """Whether all of `raw` decodes."""
        try:
            self.decode(raw)
        except CharsetError:
            return False
        return True


ASCII: Final = Charset(name="ASCII", codec="ascii")
UTF_8: Final = Charset(name="UNICODE UTF-8", codec="utf-8")
UTF_16_LE: Final = Charset(name="UNICODE UTF-16", codec="utf-16-le", structure=Structure.WIDE)
UTF_16_BE: Final = Charset(name="UNICODE UTF-16", codec="utf-16-be", structure=Structure.WIDE)
LATIN_1: Final = Charset(name="8859/1", codec="latin-1", no_c1=True)
_GB_18030: Final = Charset(name="GB 18030-2000", codec="gb18030", structure=Structure.LINE_SAFE)
_BIG_5: Final = Charset(name="BIG-5", codec="cp950", structure=Structure.LINE_SAFE)
_SHIFT_JIS: Final = Charset(name="SHIFT_JIS", codec="cp932", structure=Structure.LINE_SAFE)
_JAPANESE: Final = Charset(name="ISO IR87", codec="iso2022_jp_ext", structure=Structure.LINE_SAFE)
_KOREAN: Final = Charset(name="KS X 1001", codec="euc_kr")


def _key(name: str) -> str:
    return "".join(c for c in name.upper() if c.isalnum())


def _table() -> dict[str, Charset]:
    table = {
        # a plain UNICODE message that could be read byte by byte is UTF-8: UTF-16 is seen from its first bytes
        "UTF-8 UTF8 UNICODE": UTF_8,
        "UNICODEUTF8 ISOIR192 UNICODEFSS": UTF_8,
        "ASCII USASCII ISOIR6 646 ISO646": ASCII,
        "GB18030 GB180302000 GB2312 GBK": _GB_18030,
        "BIG5 CP950": _BIG_5,
        "SHIFTJIS SJIS CP932 WINDOWS31J": _SHIFT_JIS,
        "ISOIR13 ISOIR14 ISOIR87 ISOIR159 ISO2022JP": _JAPANESE,
        "KSX1001 KSC5601 EUCKR ISOIR149": _KOREAN,
    }
    out = {_key(alias): charset for names, charset in table.items() for alias in names.split()}
    for part in (*range(1, 12), 13, 14, 15, 16):
        latin = Charset(name=f"8859/{part}", codec=f"iso8859-{part}", no_c1=True)
        out |= {f"8859{part}": latin, f"ISO8859{part}": latin}
    out["ISOIR100"] = out["LATIN1"] = out["88591"]
    for page in range(1250, 1259):
        windows = Charset(name=f"WINDOWS-{page}", codec=f"cp{page}")
        out |= {f"WINDOWS{page}": windows, f"CP{page}": windows}
    return out


_TABLE: Final = _table()


@lru_cache(maxsize=256)
def charset_named(name: str) -> Charset | None:
    """Look a name up (table 0211, and the common spellings of other systems); None when it has no codec."""
    return _TABLE.get(_key(name)) if len(name) <= _LONGEST_NAME else None


def link_charset(name: str) -> Charset:
    """Look up a name that an operator configured. Raises `CharsetError` with the names that are known."""
    found = charset_named(name)
    if found is None:
        known = ", ".join(sorted({charset.name for charset in _TABLE.values()}))
        raise CharsetError(f"charset {name!r} is not known; known are {known}")
    return found


def declared_charset(names: Sequence[str]) -> Charset | None:
    """The set that MSH-18 declares: its first repetition, read with the escapes that later repetitions announce.

    `ASCII~ISO IR87` starts in ASCII and switches by ISO 2022 escape sequences: one codec reads both.
    """
    first = charset_named(names[0]) if names and names[0] else None
    if len(names) > 1 and (first is None or first is ASCII):
        rest = [charset_named(name) for name in names[1:]]
        if _JAPANESE in rest:
            return _JAPANESE
        if _KOREAN in rest and first is ASCII:
            return _KOREAN
    return first


@lru_cache(maxsize=256)
def candidates(
    declared: tuple[str, ...], default: str | None, fallback: tuple[str, ...]
) -> tuple[Charset, ...]:
    """The sets to try, in order: what MSH-18 declares (else the link's default, else ASCII), then the fallbacks.

    Empty when MSH-18 names a set that has no codec and the link names none. Raises `CharsetError` for unknown
    names of the link.
    """
    own = link_charset(default) if default else None
    first = declared_charset(declared) or own if any(declared) else own or ASCII
    rest = [link_charset(name) for name in fallback]
    return tuple(dict.fromkeys(c for c in (first, *rest) if c is not None))


def transcode(raw: bytes, charset: Charset, *, location: str = "", offset: int = 0) -> bytes:
    """Rewrite bytes of a set that is not ASCII-safe as UTF-8, so that they can be split byte by byte."""
    return charset.decode(raw, location=location, offset=offset).encode()


def wide_charset(raw: bytes) -> Charset | None:
    """UTF-16 as seen from the first bytes (a byte order mark, or `MSH` in 16-bit units); None for everything else."""
    start = raw[:6]
    if start.startswith(b"\xff\xfe") or start == b"M\0S\0H\0":
        return UTF_16_LE
    if start.startswith(b"\xfe\xff") or start == b"\0M\0S\0H":
        return UTF_16_BE
    return None


__all__ = [
    "ASCII",
    "LATIN_1",
    "UTF_8",
    "UTF_16_BE",
    "UTF_16_LE",
    "Charset",
    "Structure",
    "candidates",
    "charset_named",
    "declared_charset",
    "link_charset",
    "transcode",
    "wide_charset",
]
