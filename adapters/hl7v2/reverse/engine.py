"""FHIR resources to one HL7 v2 message, by compiled tables. Never raises on content."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from adapters.hl7v2.codec.charset import ASCII
from adapters.hl7v2.codec.errors import CharsetError
from adapters.hl7v2.mapping.errors import TablesError
from adapters.hl7v2.mapping.protocol import IssueCode, Severity
from adapters.hl7v2.reverse.building import SegmentBuilder
from adapters.hl7v2.reverse.compiler import Compiler
from adapters.hl7v2.reverse.frames import Frame, Run
from adapters.hl7v2.reverse.functions import date_time
from adapters.hl7v2.reverse.leftovers import tell_leftovers
from adapters.hl7v2.reverse.loading import load_reverse_tables
from adapters.hl7v2.reverse.messages import walk
from adapters.hl7v2.reverse.model import MessageDocument, ReverseTables
from adapters.hl7v2.reverse.protocol import WriteContext, Written
from adapters.hl7v2.reverse.reading import as_bundle
from adapters.hl7v2.reverse.references import References
from adapters.hl7v2.reverse.sources import Source, Test
from adapters.hl7v2.reverse.steps import CompiledStep, Pages, compile_step

ANY: Final = "*"
"""In `events`: whatever the sources of the event find, or none."""
_EVENT: Final = re.compile(r"[A-Z]\w\d\Z", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    document: MessageDocument
    when: Test | None
    event: tuple[Source, ...]
    steps: tuple[CompiledStep, ...]

    def chosen(self, frame: Frame) -> str | None:
        """The trigger event when this document fits the bundle; None when it does not."""
        if self.when is not None and not self.when(frame):
            return None
        events = self.document.events
        if not self.event:
            return next(iter(events))
        named = [one for source in self.event for one in source(frame) if isinstance(one, str)]
        if ANY in events:
            return next((one for one in named if _EVENT.match(one)), "")
        return next((one for one in named if one in events), None)


class Writer:
    """Compiled tables, ready to write messages. Safe to share between threads."""

    def __init__(self, tables: ReverseTables) -> None:
        """Compile. Raises `TablesError`."""
        self.version = tables.version
        """Hash of the tables."""
        documents = sorted(tables.messages.values(), key=lambda one: (one.rank, one.name))
        self._messages = tuple(_compiled(one, tables) for one in documents)
        self._ignored = {
            f"{document.source}.{element}": reason
            for document in tables.documents.values()
            for element, reason in document.ignored.items()
        }
        self._check_unused(tables)

    def write(self, value: object, context: WriteContext) -> Written:
        """The message of a bundle, or of one resource. What cannot be written is an issue, never an exception."""
        bundle, fault = as_bundle(value)
        run = Run(bundle=bundle, references=References(bundle), context=context)
        if fault:
            run.fail(IssueCode.STRUCTURE, "", detail=fault)
            return self._written(run, "", None)
        frame = Frame(
            run=run,
            focus=bundle,
            holder=bundle,
            variables={"bundle": bundle, "setting": dict(context.parameters)},
            numbers={},
            step="",
        )
        for message in self._messages:
            event = message.chosen(frame)
            if event is not None:
                return self._message(message, event, frame)
        run.fail(IssueCode.UNSUPPORTED, "", detail="no message document fits these resources")
        return self._written(run, "", None)

    def _message(self, message: _Message, event: str, frame: Frame) -> Written:
        run, document = frame.run, message.document
        structure = document.events.get(event) or document.events[ANY]
        context = run.context
        run.facts = {
            "type": document.type,
            "event": event,
            "structure": structure if event else "",
            "time": str(date_time(context.time.isoformat(timespec="seconds"))),
            "control_id": context.control_id,
            "version": context.version,
            "charset": "" if run.charset is ASCII else run.charset.name,
        }
        pages = Pages()
        for step in message.steps:
            step.run(frame, pages)
        tell_leftovers(run, self._ignored)
        parts = (document.type, event, structure if event else "")
        return self._written(
            run, "^".join(one for one in parts if one), _joined(pages.segments, run)
        )

    def _written(self, run: Run, message_type: str, raw: bytes | None) -> Written:
        return Written(
            message=None if run.is_broken else raw,
            message_type=message_type,
            issues=tuple(run.issues),
            tables=self.version,
        )

    def _check_unused(self, tables: ReverseTables) -> None:
        """Compile what no message document reaches, too: a wrong rule is found when it is loaded."""
        steps = [one.name for document in tables.messages.values() for one in walk(document.steps)]
        compiler = Compiler(tables, steps)
        for name, document in tables.documents.items():
            compiler.document(name, str(document.place))


def _compiled(document: MessageDocument, tables: ReverseTables) -> _Message:
    where = f"{document.place}: {document.name}"
    if not document.events or not document.steps:
        raise TablesError(f"{where}: 'events' or 'steps' is missing")
    names = {one.name: one for one in walk(document.steps)}
    compiler = Compiler(tables, tuple(names))
    return _Message(
        document=document,
        when=compiler.sources.test(document.when, where) if document.when else None,
        event=tuple(compiler.sources.source(one, where) for one in document.event),
        steps=tuple(compile_step(one, compiler, where, names) for one in document.steps),
    )


def _joined(segments: list[SegmentBuilder], run: Run) -> bytes | None:
    lines: list[bytes] = []
    for segment in segments:
        try:
            lines.append(segment.to_bytes(run.charset))
        except CharsetError as error:
            run.fail(
                IssueCode.CHARSET,
                error.location or segment.name,
                detail=f"not in {run.charset.name}",
            )
    for segment in segments:
        if segment.is_too_deep:
            run.issue(
                Severity.WARNING, IssueCode.UNSUPPORTED, segment.name, detail="parts below subcomponents are left out"
            )  # fmt: skip
            break
    return b"".join(line + b"\r" for line in lines) if lines else None


def compile_writer(tables: ReverseTables) -> Writer:
    """A writer of loaded tables. Raises `TablesError`."""
    return Writer(tables)


@lru_cache(maxsize=1)
def default_writer() -> Writer:
    """The writer of the tables that ship with medmesh, compiled once."""
    return Writer(load_reverse_tables())


__all__ = ["Writer", "compile_writer", "default_writer"]
