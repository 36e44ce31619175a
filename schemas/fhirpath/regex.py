r"""Regular expressions in linear time: no backtracking, so no text and no pattern can make a filter hang.

Alternation, groups (without references to them), `* + ? {m,n}`, classes, `.` (any character, line ends too), `^` and
`$` (the text's ends), `\d \w \s` and their negations. Not in it: lookaround, back references, `\b`, `\p{…}`, flags.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MAX_PATTERN: Final = 512
MAX_PROGRAM: Final = 2_000
_MAX_DEPTH: Final = 24
_CACHE: Final = 2_048

_DIGIT: Final = (("0", "9"),)
_WORD: Final = (("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z"))
_SPACE: Final = (("\t", "\r"), (" ", " "))
_CLASSES: Final = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_CONTROLS: Final = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}


@dataclass(frozen=True, slots=True)
class _Set:
    """Characters by ranges."""

    ranges: tuple[tuple[str, str], ...]
    is_negated: bool = False

    def has(self, character: str) -> bool:
        return any(low <= character <= high for low, high in self.ranges) is not self.is_negated


# An instruction: a set and where to go, a fork, an anchor (`^` or `$`) and where to go, or the end.
@dataclass(frozen=True, slots=True)
class _Instruction:
    kind: str
    next: int = 0
    other: int = 0
    characters: _Set | None = None


_States = frozenset[int]


class Pattern:
    """A compiled pattern: a set of states walks through the text, once."""

    def __init__(self, program: list[_Instruction]) -> None:
        self._program = program
        self._steps: dict[tuple[_States, str, bool], _States] = {}
        self._first = self._closure([0], at_start=True)
        self._later = self._closure([0], at_start=False)

    @property
    def size(self) -> int:
        """Instructions: a text costs at most its length times this."""
        return len(self._program)

    def fits(self, text: str) -> bool:
        """Whether the whole text has the pattern's shape."""
        states = self._first
        for character in text:
            if not states:
                return False
            states = self._step(states, character, searching=False)
        return self._is_end(states)

    def occurs(self, text: str) -> bool:
        """Whether a part of the text has the pattern's shape."""
        states = self._first
        for character in text:
            if self._has_match(states):
                return True
            states = self._step(states, character, searching=True)
        return self._is_end(states)

    def replace(self, text: str, new: str, spend: Callable[[int], None]) -> str:
        """Replace each leftmost longest occurrence that is not empty. `spend` is told of each character read."""
        out: list[str] = []
        at = 0
        while at < len(text):
            end = self._longest(text, at)
            spend((end[1] - at) // 8 + 1)
            out.append(new if end[0] > at else text[at])
            at = max(end[0], at + 1)
        return "".join(out)

    def _longest(self, text: str, start: int) -> tuple[int, int]:
        """Where the longest occurrence at `start` ends, and how far it was looked."""
        states, best, at = self._first if start == 0 else self._later, start, start
        while states and at < len(text):
            states = self._step(states, text[at], searching=False)
            at += 1
            if self._has_match(states) or (at == len(text) and self._is_end(states)):
                best = at
        return best, at

    def _step(self, states: _States, character: str, *, searching: bool) -> _States:
        found = self._steps.get((states, character, searching))
        if found is None:
            targets = []
            for state in states:
                instruction = self._program[state]
                if instruction.characters is not None and instruction.characters.has(character):
                    targets.append(instruction.next)
            found = self._closure(targets, at_start=False)
            if searching:
                found |= self._later
            if len(self._steps) >= _CACHE:
                self._steps.clear()
            self._steps[states, character, searching] = found
        return found

    def _closure(self, starts: list[int], *, at_start: bool, at_end: bool = False) -> _States:
        seen: set[int] = set()
        pending = list(starts)
        while pending:
            state = pending.pop()
            if state in seen:
                continue
            seen.add(state)
            instruction = self._program[state]
            if instruction.kind == "fork":
                pending += (instruction.next, instruction.other)
            elif (instruction.kind == "^" and at_start) or (instruction.kind == "$" and at_end):
                pending.append(instruction.next)
        return frozenset(s for s in seen if self._program[s].kind in ("set", "$", "end"))

    def _has_match(self, states: _States) -> bool:
        return len(self._program) - 1 in states

    def _is_end(self, states: _States) -> bool:
        if self._has_match(states):
            return True
        ends = [state for state in states if self._program[state].kind == "$"]
        # `^` after `$` fits the empty text only
        is_empty = states is self._first
        return bool(ends) and self._has_match(self._closure(ends, at_start=is_empty, at_end=True))


class _Builder:
    """Recursive descent over the pattern; each piece is emitted in place."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self.program: list[_Instruction] = []

    @property
    def now(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def emit(self, *instructions: _Instruction) -> None:
        self.program.extend(instructions)
        if len(self.program) > MAX_PROGRAM:
            raise ValueError("the pattern is too large once its repetitions are written out")

    def alternatives(self, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise ValueError("the pattern's groups are nested too deep")
        start = len(self.program)
        self._sequence(depth)
        while self.now == "|":
            self._at += 1
            first = self._cut(start)
            # fork first, second; first; jump over second
            self.emit(_Instruction("fork", start + 1, start + len(first) + 2))
            self.emit(*_moved(first, 1))
            jump = len(self.program)
            self.emit(_Instruction("fork"))
            self._sequence(depth)
            end = len(self.program)
            self.program[jump] = _Instruction("fork", end, end)

    def _sequence(self, depth: int) -> None:
        while self.now not in ("", "|", ")"):
            start = len(self.program)
            self._atom(depth)
            while self.now and self.now in "*+?{":
                self._repeat(start)

    def _atom(self, depth: int) -> None:
        character = self.now
        self._at += 1
        if character == "(":
            self._group(depth)
        elif character == "[":
            self._set(self._class())
        elif character in "^$":
            self.emit(_Instruction(character, len(self.program) + 1))
        elif character == ".":
            self._set(_Set((), is_negated=True))
        elif character == "\\":
            self._set(self._escape())
        elif character in "*+?{":
            raise ValueError(f"nothing to repeat before {character!r} at {self._at}")
        else:
            self._set(_Set(((character, character),)))

    def _set(self, characters: _Set) -> None:
        self.emit(_Instruction("set", len(self.program) + 1, characters=characters))

    def _group(self, depth: int) -> None:
        if self.now == "?":
            if not self._pattern.startswith("?:", self._at):
                raise ValueError("groups with '(?' other than '(?:' are not allowed in a pattern")
            self._at += 2
        self.alternatives(depth + 1)
        if self.now != ")":
            raise ValueError("the pattern's '(' is not closed")
        self._at += 1

    def _repeat(self, start: int) -> None:
        least, most = self._bounds()
        if self.now == "?":
            self._at += 1  # whether a text fits does not depend on greed
        elif self.now == "+":
            raise ValueError("possessive repetition is not allowed in a pattern")
        body = self._cut(start)
        if (least + (1 if most is None else most - least)) * (len(body) + 1) > MAX_PROGRAM:
            raise ValueError("the pattern is too large once its repetitions are written out")
        for _ in range(least):
            self.emit(*_moved(body, len(self.program) - start))
        if most is None:
            at = len(self.program)
            self.emit(_Instruction("fork", at + 1, at + len(body) + 2))
            self.emit(*_moved(body, at + 1 - start), _Instruction("fork", at, at))
        else:
            self._optional(body, start, most - least)

    def _optional(self, body: list[_Instruction], start: int, times: int) -> None:
        end = len(self.program) + times * (len(body) + 1)
        for _ in range(times):
            at = len(self.program)
            self.emit(_Instruction("fork", at + 1, end), *_moved(body, at + 1 - start))

    def _bounds(self) -> tuple[int, int | None]:
        character = self.now
        self._at += 1
        if character != "{":
            return (1 if character == "+" else 0), (1 if character == "?" else None)
        end = self._pattern.find("}", self._at)
        least, comma, most = self._pattern[self._at : end].partition(",")
        if end < 0 or not least.isdecimal() or (most and not most.isdecimal()):
            raise ValueError("a repetition in the pattern is not {m}, {m,} or {m,n}")
        self._at = end + 1
        if len(least) > 4 or len(most) > 4:
            raise ValueError("a repetition in the pattern is too large")
        upper = int(most) if most else None if comma else int(least)
        if upper is not None and upper < int(least):
            raise ValueError("a repetition in the pattern has its bounds reversed")
        return int(least), upper

    def _cut(self, start: int) -> list[_Instruction]:
        body = self.program[start:]
        del self.program[start:]
        return body

    def _escape(self) -> _Set:
        character = self.now
        self._at += 1
        if character.lower() in _CLASSES:
            return _Set(_CLASSES[character.lower()], character.isupper())
        if character in _CONTROLS:
            character = _CONTROLS[character]
        elif not character or character.isalnum():
            raise ValueError("an escape in the pattern is not allowed")
        return _Set(((character, character),))

    def _class(self) -> _Set:
        is_negated = self.now == "^"
        self._at += is_negated
        ranges: list[tuple[str, str]] = []
        is_first = True
        while self.now != "]" or is_first:
            is_first = False
            low = self._class_part()
            if len(low) > 1 or low[0][0] != low[0][1] or not self._is_range():
                ranges.extend(low)
                continue
            self._at += 1
            high = self._class_part()
            if len(high) > 1 or high[0][0] != high[0][1] or low[0][0] > high[0][0]:
                raise ValueError("a range in a class of the pattern is wrong")
            ranges.append((low[0][0], high[0][0]))
        self._at += 1
        return _Set(tuple(ranges), is_negated)

    def _is_range(self) -> bool:
        return self.now == "-" and self._pattern[self._at + 1 : self._at + 2] not in ("]", "")

    def _class_part(self) -> tuple[tuple[str, str], ...]:
        character = self.now
        if not character:
            raise ValueError("a class in the pattern is not closed")
        self._at += 1
        if character != "\\":
            return ((character, character),)
        found = self._escape()
        if found.is_negated:
            raise ValueError("a negated escape within a class of the pattern is not allowed")
        return found.ranges


def _moved(body: list[_Instruction], by: int) -> list[_Instruction]:
    return [_Instruction(i.kind, i.next + by, i.other + by, i.characters) for i in body]


@lru_cache(maxsize=128)
def compile_pattern(pattern: str) -> Pattern:
    """Compile a pattern. Raises `ValueError`, which says what is not allowed."""
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"a pattern of {len(pattern)} characters; {MAX_PATTERN} are allowed")
    builder = _Builder(pattern)
    builder.alternatives(0)
    if builder.now:
        raise ValueError("the pattern has a ')' too many")
    builder.emit(_Instruction("end"))
    return Pattern(builder.program)


__all__ = ["MAX_PATTERN", "Pattern", "compile_pattern"]
