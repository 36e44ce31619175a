"""Official rows to rules of the tables, as far as they say what is to be done; the rest with its reason."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from maps_conditions import Unreadable, condition_of
from maps_official import Row

from adapters.hl7v2.mapping.errors import TablesError
from adapters.hl7v2.mapping.functions import CODED, FUNCTIONS
from adapters.hl7v2.mapping.shapes import PRIMITIVES, Element, Shapes
from adapters.hl7v2.mapping.targets import compile_target

RuleText = dict[str, object]
_EXTENSION = Element(name="extension", type="Extension", is_list=True, is_required=False)
_STEP = re.compile(r"(?P<name>[A-Za-z]\w*)(?:\[(?P<index>\d+)\])?\Z")
_CREATION = re.compile(r"(?P<path>[\w.\[\]]+)\((?P<type>[A-Z]\w+)(?:\[\d+\])?\)\Z")
_PREFIX = re.compile(r"\[(?P<index>\d+)\]\.?")
_ASSIGNED_IN_PATH = re.compile(r"(?P<path>[^=]+)=\s*(?P<value>\".*\")\Z")


class Left(ValueError):
    """A row that makes no rule by itself; the text says why."""

    def __init__(self, state: str, reason: str) -> None:
        super().__init__(reason)
        self.state = state


@dataclass(slots=True)
class Draft:
    """A document in the making."""

    name: str
    is_datatype: bool
    target: str
    rows: list[Row] = field(default_factory=list)
    rules: list[RuleText] = field(default_factory=list)
    left: dict[tuple[str, int], Left] = field(default_factory=dict)


class Drafter:
    """Turns rows into rules. Knows which documents and code tables there are."""

    def __init__(self, shapes: Shapes, documents: Iterable[str], tables: Iterable[str]) -> None:
        self._shapes = shapes
        self._documents = {name.lower(): name for name in documents}
        self._tables = {_plain(name): name for name in tables}

    def draft(self, rows: list[Row]) -> Draft:
        """The rules of one document."""
        name = rows[0].document
        target = re.search(r"\[([\w.]+)", name)
        draft = Draft(name, rows[0].is_datatype, target[1] if target else "", rows)
        urls = _urls(rows)
        shared = _shared(rows)
        for row in rows:
            try:
                draft.rules += self._rules(row, draft.target, urls, shared)
            except Left as left:
                draft.left[row.order, row.part] = left
            except TablesError as err:
                reason = str(err).partition(": to: ")[2] or str(err)
                draft.left[row.order, row.part] = Left("unsupported", reason)
        _give_ids(draft.rules)
        return draft

    def _rules(
        self, row: Row, target: str, urls: Mapping[str, str], shared: frozenset[str]
    ) -> list[RuleText]:
        text, assigned = _instruction(row)
        if text.endswith((".url", ".uri")):
            return []
        create = ""
        if found := _CREATION.match(text):
            text, create = found["path"], found["type"]
        elif "(" in text:
            raise Left("unsupported", "fills a resource that another row creates")
        is_repeated = row.repeats and not row.is_datatype
        to, element, is_shared = self._path(text, target, row, urls, shared, is_repeated)
        rule: RuleText = {"id": _slug(row, to)}
        own = "" if _is_about_all(row) else _source(row, to, is_repeated and not is_shared)
        if own:
            rule["from"] = own
        rule["to"] = to
        self._value(rule, row, assigned, create, element, target)
        try:
            condition = condition_of(row, own)
        except Unreadable as err:
            raise Left("narrative", f"{row.condition}: {err}") from None
        if condition:
            rule["when"] = condition
        rule["ig"] = row.key
        return [rule]

    def _value(
        self,
        rule: RuleText,
        row: Row,
        assigned: str,
        create: str,
        element: Element | None,
        target: str,
    ) -> None:
        kind = element.type if element else target
        if assigned:
            rule["const"] = _constant(assigned, kind)
            return
        if "from" not in rule:
            raise Left("narrative", "no value is given")
        document = self._documents.get(row.map.lower())
        fills = re.search(r"\[([\w.]+)", document)[1] if document else ""  # type: ignore[index]
        if create or kind == "Reference":
            if not document:
                raise Left("unsupported", f"{row.map or 'no map'} makes no resource")
            rule["as"] = document
            rule["create"] = create or fills
            return
        if document and (fills not in PRIMITIVES or document in ("CWE[code]", "CWE[string]")):
            rule["as"] = document
        elif kind in CODED or kind in FUNCTIONS:
            pass
        elif kind == "Quantity" and row.map:
            raise Left("unsupported", f"{row.map} gives no {kind}")
        else:
            raise Left("unsupported", f"the guide has no map for {kind}")
        table = self._tables.get(_plain(row.table))
        if table and (kind in CODED or kind in PRIMITIVES):
            rule["table"] = table

    def _path(
        self,
        text: str,
        owner: str,
        row: Row,
        urls: Mapping[str, str],
        shared: frozenset[str],
        is_repeated: bool,
    ) -> tuple[str, Element | None, bool]:
        """The path in our spelling, what it ends at, and whether it is filled from several fields."""
        if text in ("$this", "$value", f"{owner}"):
            return "$this", None, False
        if found := _PREFIX.match(text):
            if found["index"] != "1":
                raise Left("unsupported", "makes a second value")
            text = text[found.end() :]
        text = text.removeprefix(f"{owner}.")
        made: list[str] = []
        read: list[str] = []
        kind, element, is_shared, is_first = owner, None, False, True
        for step in text.split("."):
            match = _STEP.match(step)
            if match is None:
                raise Left("unsupported", f"the path {row.target!r} is not readable")
            read.append(step)
            name = match["name"]
            element, kind, name = self._element(kind, name, made, row)
            prefix = ".".join(read)
            index = self._index(match, element, prefix, row, urls, shared if is_first else None)
            is_shared = is_shared or (is_first and element.is_list and prefix in shared)
            is_first = is_first and not (element.is_list and name != "extension")
            made.append(name + index)
        path = ".".join(made)
        compile_target(path, owner, self._shapes, row.key)
        return path, element, is_shared

    def _element(self, kind: str, name: str, made: list[str], row: Row) -> tuple[Element, str, str]:
        elements = self._shapes.types.get(kind, {})
        if kind in PRIMITIVES and name == "extension":
            made[-1] = "_" + made[-1]
            return _EXTENSION, "Extension", name
        lowered = {one.lower(): one for one in elements}
        found = elements.get(lowered.get(name.lower(), ""))
        if found is None:
            raise Left("unsupported", f"R4 has no element {name!r} in {kind}")
        return found, found.type, found.name

    @staticmethod
    def _index(
        match: re.Match[str],
        element: Element,
        prefix: str,
        row: Row,
        urls: Mapping[str, str],
        shared: frozenset[str] | None,
    ) -> str:
        """What stands in brackets after an element. `shared` is None but for the first list of a path."""
        if element.name == "extension":
            url = urls.get(prefix)
            if not url:
                raise Left("unsupported", "the url of the extension is not given")
            return f"[url={url}]"
        if not element.is_list:
            return ""
        if shared is not None and prefix in shared:
            return f"[{_label(match)}]"
        if element.is_primitive or (shared is not None and not row.is_datatype):
            return "[]"
        return f"[{int(match['index'] or 1) - 1}]"


def _instruction(row: Row) -> tuple[str, str]:
    """The path that the row fills, and what it assigns."""
    if not row.target or "??" in row.target:
        raise Left("narrative", "the guide wishes for an extension that nobody has defined")
    text, assigned = row.target.strip(), row.assigned
    if found := _ASSIGNED_IN_PATH.match(text):
        text, assigned = found["path"].strip(), assigned or found["value"]
    if row.narrative and not row.condition and "mapped to FHIR" not in row.narrative:
        raise Left("narrative", row.narrative)
    if assigned.startswith("/"):
        raise Left("narrative", assigned.strip("/"))
    return text, assigned


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9\[\].]", "", name.lower())


def _urls(rows: list[Row]) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in rows:
        for ending in (".url", ".uri"):
            if row.target.endswith(ending) and "extension" in row.target:
                url = row.assigned.strip('"').strip().replace("\\", "")
                if url and " " not in url:
                    path = row.target.removesuffix(ending)
                    found.setdefault(path, url)
    return found


def _shared(rows: list[Row]) -> frozenset[str]:
    """Paths of first list elements that several fields fill."""
    sources: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        parts = row.target.split(".")
        for n in range(1, len(parts)):
            sources[".".join(parts[:n])].add(row.source)
    return frozenset(path for path, found in sources.items() if len(found) > 1)


def _label(match: re.Match[str]) -> str:
    return f"{match['name'].lower()[:12]}{match['index'] or ''}"


def _is_about_all(row: Row) -> bool:
    return not re.search(r"\d", row.source.partition("-")[2] or row.source.partition(".")[2])


def _source(row: Row, to: str, is_repeated: bool) -> str:
    if row.is_datatype:
        return "." + row.source.rpartition("-" if "-" in row.source else ".")[2]
    is_list = "[]" in to or "extension[url=" in to
    return row.source + ("[*]" if is_repeated and is_list else "")


def _constant(text: str, kind: str) -> object:
    if "+" in text:
        raise Left("unsupported", f"composes a text: {text}")
    value = text.strip().strip('"').strip()
    if value.startswith("#") or re.match(r"[A-Z]{2,3}[-.]\d", value):
        raise Left("narrative", f"no value is given: {text}")
    if kind == "boolean":
        return value == "true"
    if kind == "decimal":
        return int(value)
    if kind not in PRIMITIVES:
        raise Left("unsupported", f"a text where {kind} is expected: {text}")
    return value


def _slug(row: Row, to: str) -> str:
    words = re.sub(r"\[[^\]]*\]", "", to).replace("$this", "this").replace("_", "")
    return f"{row.order}-{words.replace('.', '-')}"[:60]


def _give_ids(rules: list[RuleText]) -> None:
    counts: dict[str, int] = {}
    for rule in rules:
        name = str(rule["id"])
        counts[name] = counts.get(name, 0) + 1
        if counts[name] > 1:
            rule["id"] = f"{name}-{counts[name]}"


__all__ = ["Draft", "Drafter", "Left", "RuleText"]
