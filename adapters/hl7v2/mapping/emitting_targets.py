"""Targets as Python source: the lines that put a value in its place and note where it comes from. See `emitting`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from adapters.hl7v2.mapping.targets import (
    VALUE,
    ExtensionWay,
    Indexed,
    KeyWay,
    Labelled,
    Target,
    This,
)


@dataclass(slots=True)
class TargetWriter:
    """Writes how values get to where a target says. What writes whole functions is built upon it."""

    target: Target
    lines: list[str] = field(default_factory=list)
    names: dict[str, object] = field(default_factory=dict)
    depth: int = 1
    skip: str = "return"
    """How to go on where a repetition gives nothing."""
    number: str = "1"
    place: str = "0"
    spot: str = ""
    key: str = "()"

    @property
    def text(self) -> str:
        """The source so far."""
        return "\n".join(self.lines) + "\n"

    def add(self, *lines: str) -> None:
        """Add lines at the depth that is written at."""
        self.lines.extend("    " * self.depth + one for one in lines)

    def name(self, name: str, value: object) -> str:
        """Bind a name in capitals to a value; returns the name."""
        self.names[name] = value
        return name

    def enter(self) -> None:
        """Go to the object that the value is put into; the lines name it `into`."""
        self.add("into = frame.out")
        for i, step in enumerate(self.target.inner):
            self.add(*self._entered(i, step))

    def _entered(self, i: int, step: object) -> Iterator[str]:
        way = self.name(f"WAY{i}", step)
        match step:
            case KeyWay(name, others) if not others:
                key = self.name(f"NAME{i}", name)
                yield from (f"inner = into.get({key})", "if inner is None:")
                yield from (f"    inner = into[{key}] = {{}}", "into = inner")
            case Indexed(name, index) if index == 0:
                key = self.name(f"NAME{i}", name)
                yield from (f"found_there = into.get({key})", "if found_there is None:")
                yield from ("    inner = {}", f"    into[{key}] = [inner]", "    into = inner")
                yield from ("else:", f"    into = {way}.enter(into, frame, {self.key})")
            case ExtensionWay(name, url):
                key, address = self.name(f"NAME{i}", name), self.name(f"URL{i}", url)
                yield from (f"if {key} in into:", f"    into = {way}.enter(into, frame, None)")
                yield from ("else:", f"    inner = {{'url': {address}}}")
                yield from (f"    into[{key}] = [inner]", "    into = inner")
            case This():
                return
            case _:
                yield f"into = {way}.enter(into, frame, {self.key})"

    def write_plain(self) -> None:
        """Put a text, number or boolean in its place, and log it."""
        self.enter()
        last = self.target.last
        self.name("END", last)
        match last:
            case KeyWay(name, others):
                self.name("NAME", name)
                if others:
                    self.add(f"END.put(into, value, frame, {self.key})")
                else:
                    self.add("old = into.get(NAME)", "if old is not None and old != value:")
                    self.add("    env.discard(old)", "into[NAME] = value")
                self.add(f"env.note((into, NAME, value, view, {self.place}, NAMING))")
            case Labelled(name):
                self.name("NAME", name)
                self.add("found_there = into.get(NAME)", "if found_there is None:")
                self.add("    found_there = into[NAME] = []", "found_there.append(value)")
                self.add("env.note((found_there, len(found_there) - 1, value, view, ")
                self.lines[-1] += f"{self.place}, NAMING))"
            case This():
                self.name("NAME", VALUE)
                self.add(
                    "into[NAME] = value",
                    f"env.note((into, NAME, value, view, {self.place}, NAMING))",
                )
            case Indexed(name) | ExtensionWay(name):
                self.name("NAME", name)
                self.add(f"placed = END.put(into, value, frame, {self.key})")
                self.log_object()

    def write_object(self, value: str) -> None:
        """Put an object in its place; `placed` is the one that stands there then."""
        self.enter()
        last = self.target.last
        self.name("END", last)
        if isinstance(last, KeyWay) and not last.others:
            self.name("NAME", last.name)
            self.add("if NAME in into:", f"    placed = END.put(into, {value}, frame, {self.key})")
            self.add("else:", f"    placed = into[NAME] = {value}")
        else:
            self.name("NAME", VALUE if isinstance(last, This) else last.name)
            self.add(f"placed = END.put(into, {value}, frame, {self.key})")
        self.add(f"if placed is not {value} and {value}.__class__ is dict:")
        self.add(f"    env.moved[id({value})] = ({value}, placed)")

    def log_object(self) -> None:
        """Note where an object that was put in its place comes from."""
        last = self.target.last
        end = f"value, view, {self.place}, NAMING))"
        if isinstance(last, KeyWay):
            self.add(f"env.note((into, NAME, {end}")
        elif isinstance(last, This):
            self.add(f"env.note((into, NAME if placed is value else '', {end}")
        else:
            self.add("found_there = into[NAME]")
            self.add(f"env.note((found_there, index_of(placed, found_there), {end}")


__all__ = ["TargetWriter"]
