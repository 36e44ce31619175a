"""Rules to Python source: one straight function for each rule, made when the rule is first needed.

The text is put together of fixed lines alone. Nothing that a table says is in it: fields, names, values and functions
are bound to the names in capitals, so rules of one form share their code, and no table can reach the interpreter.
`Rule.source` shows the text, `Rule.names` what is bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Final, cast

from adapters.hl7v2.codec.delimiters import DEFAULT_DELIMITERS
from adapters.hl7v2.mapping.conditions import Test
from adapters.hl7v2.mapping.emitting_targets import TargetWriter
from adapters.hl7v2.mapping.frames import (
    NEXT,
    UNIT,
    Frame,
    Naming,
    Step,
    below,
    is_valued,
    spot,
)
from adapters.hl7v2.mapping.functions import FUNCTIONS
from adapters.hl7v2.mapping.makers import Maker
from adapters.hl7v2.mapping.memory import key_of, learn, recall
from adapters.hl7v2.mapping.protocol import Json
from adapters.hl7v2.mapping.rules import is_told, refuse, relink
from adapters.hl7v2.mapping.shapes import PRIMITIVES
from adapters.hl7v2.mapping.sources import EVERY, Kind, Source
from adapters.hl7v2.mapping.targets import (
    Target,
    copied,
    index_of,
)
from schemas.errors import MeshError

_PLAIN: Final = frozenset(
    FUNCTIONS[name].text
    for name in (
        *("string", "markdown", "code", "id", "uri", "url", "canonical", "oid", "uuid", "boolean"),
        *("integer", "positiveInt", "unsignedInt", "decimal", "date", "time", "base64Binary"),
        *("system", "oid_uri", "range_low", "range_high"),
    )
)
"""Text functions that look at the text alone."""
_IDENTITY: Final = FUNCTIONS["string"].text
_COMMON: Final[Mapping[str, object]] = {
    "ERRORS": (MeshError, ValueError),
    "Frame": Frame,
    "NEXT": NEXT,
    "UNIT": UNIT,
    "below": below,
    "copied": copied,
    "index_of": index_of,
    "is_told": is_told,
    "is_valued": is_valued,
    "key_of": key_of,
    "learn": learn,
    "recall": recall,
    "TILDE": DEFAULT_DELIMITERS.repetition,
    "refuse": refuse,
    "relink": relink,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule of one source or of none, ready to be written as Python."""

    segment: str
    """The segment of the document; empty for a data type."""
    target: Target
    naming: Naming
    source: Source | None = None
    maker: Maker | None = None
    """None for a constant."""
    const: Json = None
    test: Test | None = None
    is_each: bool = False
    """Whether the test is about a repetition, not about the segment."""

    @property
    def text(self) -> str:
        """The function's source."""
        return _Writer(self).written().text

    @property
    def names(self) -> Mapping[str, object]:
        """What the names in capitals stand for."""
        return _Writer(self).written().names

    def made(self) -> Step:
        """The function."""
        writer = _Writer(self).written()
        space = {**_COMMON, **writer.names}
        # a copy of the code: the interpreter fits code to the values it meets, and rules meet different ones
        code = _compiled(writer.text).replace(co_name=self.naming.rule)
        return cast("Step", FunctionType(code, space))


@lru_cache(maxsize=4_096)
def _compiled(text: str) -> CodeType:
    module = compile(text, "<rule>", "exec")  # of fixed lines: see the module's docstring
    return next(one for one in module.co_consts if isinstance(one, CodeType))


class _Writer(TargetWriter):
    """Writes the function of one rule."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule.target)
        self.rule = rule

    def written(self) -> _Writer:
        """Write all of it."""
        self.lines.append("def rule(frame):")
        self.name("NAMING", self.rule.naming)
        source = self.rule.source
        if source is None:
            self._alone()
            return self
        self.names.update(C=source.component or 1, S=source.subcomponent or 1)
        if source.kind is Kind.FIELD:
            self._field(source)
        else:
            self._relative(source)
        self._body(source)
        return self

    def _alone(self) -> None:
        self._test()
        self.add("view = frame.view", "env = frame.env")
        self._constant()

    def _test(self) -> None:
        if self.rule.test is not None and not self.rule.is_each:
            self.name("TEST", self.rule.test)
            self.add("if not TEST(frame):", "    return")

    # where values come from

    def _field(self, source: Source) -> None:
        self.name("FIELD", source.field)
        self.add("env = frame.env", "view = frame.view")
        if source.segment != self.rule.segment:
            self.name("SEGMENT", source.segment)
            self.add("if view.name != SEGMENT:", "    view = env.nearest(view, SEGMENT)")
            self.add("    if view is None:", "        return")
        self.add("found = view.cut.get(FIELD)", "if found is None:")
        self.add("    found = view.repetitions(FIELD)")
        given = spot(source.field, 0, source.component, source.subcomponent)
        leaf = spot(source.field, 0, source.component or 1, source.subcomponent or 1)
        if source.repetition == EVERY:
            self.add("if not found:", "    return")
            self._test()
            self.add("number = 0", "for parts in found:")
            self.depth += 1
            self.add("number += 1")
            self.names.update(PLACE=given, SPOT=leaf)
            self.number, self.skip = "number", "continue"
            self.place, self.spot = "PLACE + number * NEXT", "SPOT + number * NEXT"
        else:
            self.name("LAST", source.repetition - 1)
            self.add("if len(found) <= LAST:", "    return")
            self._test()
            self.add("parts = found[LAST]")
            only = source.repetition * NEXT
            self.names.update(PLACE=given + only, SPOT=leaf + only, NUMBER=source.repetition)
            self.number, self.place, self.spot = "NUMBER", "PLACE", "SPOT"
        self.key = f"(view.position, FIELD, {self.number})"
        if self.rule.is_each:
            self.name("TEST", self.rule.test)
            made = f"Frame(env, frame.entry, frame.view, frame.out, parts, FIELD, {self.number})"
            self.add(f"if not TEST({made}):", f"    {self.skip}")

    def _relative(self, source: Source) -> None:
        self._test()
        self.add("env = frame.env", "view = frame.view", "parts = frame.parts or []")
        self.name("N", source.component)
        self.place = "frame.base + N * frame.unit"
        if source.subcomponent:
            self.place += " + (S if frame.unit == UNIT else 0)"
        self.spot = "frame.at + C * frame.unit + S"
        self.key = self.name("KEY", (source.component,))

    # what is made of them

    def _body(self, source: Source) -> None:
        maker = self.rule.maker
        if maker is None:
            self._parts(source)
            self._constant()
        elif maker.text is not None:
            self._leaf(source)
            self._of_text(source, maker)
        elif maker.memory is not None:
            self._remembered(source, maker)
        else:
            self._parts(source)
            self._of_value(source, maker)

    def _leaf(self, source: Source) -> None:
        if source.component > 1:
            self.name("AT", source.component - 1)
            self.add("text = parts[AT] if AT < len(parts) else ''")
        else:
            self.add("text = parts[0] if parts else ''")
        self.add("if text.__class__ is not str:")
        if source.subcomponent > 1:
            self.add("    text = text[S - 1] if S <= len(text) else ''", "else:", "    text = ''")
        else:
            self.add("    text = text[0]")
        self.add("if not text:", f"    {self.skip}")

    def _parts(self, source: Source) -> None:
        if source.component:
            self.name("SUB", source.subcomponent)
            self.add("parts = below(parts, C, SUB)")
        self.add("if not is_valued(parts):", f"    {self.skip}")

    def _of_text(self, source: Source, maker: Maker) -> None:
        function = maker.text
        if function is _IDENTITY:
            self.add("value = text")
        else:
            self.names.update(FUNCTION=function, SOURCE=source)
            is_plain = function in _PLAIN
            self.add("at = frame")
            if not is_plain:
                self._look(source)
            self.add("try:", "    value = FUNCTION(text, at)", "except ERRORS as err:")
            if is_plain:
                self._look(source, inside=1)
            self.add("    refuse(at, NAMING, err)", "    value = None")
            self.add("if value is None or value == '':")
            if is_plain:
                self._look(source, inside=1)
            self.add("    told = is_told(at)", "    frame.source = None", "    if told:")
            self.add(f"        view.read.add({self.spot})", f"    {self.skip}")
            if not is_plain:
                self.add("frame.source = None")
        if maker.gives <= PRIMITIVES:
            self.write_plain()
        else:
            self.write_object("value")
            self.log_object()
        self.add(f"view.read.add({self.spot})")

    def _look(self, source: Source, inside: int = 0) -> None:
        """Let issues name the leaf: by the frame's source, or where that cannot say it by a frame of its own."""
        start = "    " * inside
        if source.kind is Kind.FIELD and (
            source.repetition == EVERY or source.segment != self.rule.segment
        ):
            self.names.update(COMPONENT=source.component, SUBCOMPONENT=source.subcomponent)
            self.add(
                f"{start}at = Frame(env, frame.entry, view, frame.out, [], FIELD, {self.number}, "
                "COMPONENT, SUBCOMPONENT)"
            )
        else:
            self.add(f"{start}frame.source = SOURCE")

    def _constant(self) -> None:
        constant = self.rule.const
        self.name("CONSTANT", constant)
        if isinstance(constant, dict | list):
            self.add("value = copied(CONSTANT)")
            self.write_object("value")
            self.log_object()
        else:
            self.add("value = CONSTANT")
            self.write_plain()

    def _of_value(self, source: Source, maker: Maker) -> None:
        self._frame(source)
        if maker.run is not None:
            self.name("RUN", maker.run)
            made = ["at.out = {}", "RUN(at)", "value = at.out"]
        else:
            self.name("MAKE", maker.value)
            made = ["value = MAKE(at)"]
        self._tried(made)
        self.place = "at.base"
        self._put_value(maker)

    def _tried(self, made: list[str]) -> None:
        """Make the value; go on where there is none."""
        self.add("start = len(env.origins)", "try:", *(f"    {one}" for one in made))
        self.add("except ERRORS as err:", "    refuse(at, NAMING, err)", "    at.took_all()")
        self.add("    del env.origins[start:]", f"    {self.skip}")
        self.add("if not value and (value is None or value == '' or value == {}):")
        self.add(f"    {self.skip}")

    def _put_value(self, maker: Maker) -> None:
        (kind,) = maker.gives if len(maker.gives) == 1 else ("",)
        if maker.is_document and kind not in PRIMITIVES:
            self.write_object("value")
        elif maker.gives <= PRIMITIVES:
            self.write_plain()
        else:
            self.write_object("value")
            self.log_object()
            self.add("relink(env, value, placed)")

    def _remembered(self, source: Source, maker: Maker) -> None:
        """A value that may have been made before: known by its bytes, or within a field by its texts."""
        self.names.update(MEMORY=maker.memory, MAKE=maker.value)
        if source.kind is Kind.FIELD and not source.component:
            self.add("key = view.fields[FIELD]", "if len(found) > 1 and env.is_usual:")
            self.add(f"    key = key.split(TILDE)[{self.number} - 1]")
            self.add("known = MEMORY.get(key) if env.is_usual else None", "if known is not None:")
            self.add(f"    value = recall(frame, view, known, {self.place}, {self.place})")
            self.add("else:")
            self.depth += 1
            self._parts(source)
            self._frame(source)
            self.add("key = key if key.isascii() else None")
            self._tried(
                ["value = learn(MEMORY, key, at, MAKE) if key and env.is_usual else MAKE(at)"]
            )
            self.depth -= 1
        else:
            self._parts(source)
            self._frame(source)
            self.add("key = key_of(parts, at.unit)", "known = MEMORY.get(key)")
            self.add("if known is not None:")
            self.add("    value = recall(frame, view, known, at.at, at.base)", "else:")
            self.depth += 1
            self._tried(["value = learn(MEMORY, key, at, MAKE)"])
            self.depth -= 1
        self.place = self.place if source.kind is Kind.FIELD else "at.base"
        self._put_value(maker)

    def _frame(self, source: Source) -> None:
        """A frame on the value."""
        self.names.update(COMPONENT=source.component, SUBCOMPONENT=source.subcomponent)
        start = "at = Frame(env, frame.entry, view, frame.out, parts, "
        if source.kind is Kind.FIELD:
            self.add(f"{start}FIELD, {self.number}, COMPONENT, SUBCOMPONENT)")
            return
        self.add("inner = frame.component", f"{start}frame.field, frame.repetition, ")
        self.lines[-1] += "inner or COMPONENT, COMPONENT if inner else SUBCOMPONENT)"


__all__ = ["Rule"]
