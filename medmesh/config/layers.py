"""The layers of a configuration: flags over MEDMESH_* over the file. Each value remembers where it came from."""

from __future__ import annotations

import itertools
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from medmesh.config.problems import Place, Problem, model_in, unknown_key
from schemas.config import SiteConfig

PREFIX = "MEDMESH_"
OTHER_VARIABLES = frozenset(
    {"MEDMESH_CONFIG", "MEDMESH_NATS_SERVER", "MEDMESH_PASSPHRASE", "MEDMESH_SHARED"}
)
"""Variables with the prefix that are no keys of the configuration."""

Table = dict[str, object]


@dataclass
class Layers:
    """Values merged so far, and for each place the layer it came from."""

    values: Table = field(default_factory=dict)
    origins: dict[Place, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def adapters(self) -> list[Table]:
        """The `[[adapter]]` tables; empty when there are none (or none that are tables)."""
        found = self.values.get("adapter")
        return (
            [table for table in found if isinstance(table, dict)] if isinstance(found, list) else []
        )

    def put(self, place: Place, value: object, origin: str) -> None:
        """Set one value, making the tables on the way to it."""
        at: object = self.values
        for part, following in itertools.pairwise(place):
            if isinstance(at, list) and isinstance(part, int):
                at = at[part]
            elif isinstance(at, dict):
                at = at.setdefault(part, [] if isinstance(following, int) else {})
        if isinstance(at, dict):
            at[place[-1]] = value
            self.origins[place] = origin

    def add_table(self, table: Mapping[str, object], origin: str, place: Place = ()) -> None:
        """Take over a whole table."""
        for key, value in table.items():
            here = (*place, key)
            if isinstance(value, dict):
                self.put(here, {}, origin)
                self.add_table(value, origin, here)
            elif isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
                self.put(here, [{} for _ in value], origin)
                for i, inner in enumerate(value):
                    self.add_table(inner, origin, (*here, i))
            else:
                self.put(here, value, origin)


def read_file(path: Path) -> Table:
    """Parse a TOML file. Raises `FileNotFoundError`, `OSError`, `tomllib.TOMLDecodeError`, `UnicodeDecodeError`."""
    return tomllib.loads(path.read_text("utf-8"))


def environment_settings(environment: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """(dotted key, value, variable) of each MEDMESH_* variable that sets a key."""
    return [
        (name.removeprefix(PREFIX).replace("__", "\0").lower().replace("\0", "."), value, name)
        for name, value in sorted(environment.items())
        if name.startswith(PREFIX) and name not in OTHER_VARIABLES
    ]


def flag_settings(flags: Iterable[str]) -> tuple[list[tuple[str, str, str]], list[Problem]]:
    """(dotted key, value, origin) of each `--set key=value`."""
    settings, problems = [], []
    for flag in flags:
        key, equals, value = flag.partition("=")
        if equals and key.strip():
            settings.append((key.strip(), value, "--set"))
        else:
            problems.append(
                Problem(key=f"--set {flag}", text="is not KEY=VALUE, e.g. mesh.site=north")
            )
    return settings, problems


def apply_settings(layers: Layers, settings: Iterable[tuple[str, str, str]]) -> None:
    """Put settings from flags or the environment on top; wrong keys become problems."""
    for key, text, origin in settings:
        parts = key.split(".")
        seen = origin if origin != "--set" else f"--set {key}"
        if parts[0] == "adapter":
            _apply_adapter_setting(layers, parts, text, origin)
        elif parts[0] in SiteConfig.model_fields and len(parts) > 1:
            section = model_in(SiteConfig.model_fields[parts[0]].annotation)
            if array := _array_within(section, parts):
                layers.problems.append(Problem(key=seen, text=_in_the_file(array)))
                continue
            layers.put(tuple(parts), parse_text(text, _annotation(section, parts[1:])), origin)
        else:
            known = [f"{name}.<key>" for name in (*SiteConfig.model_fields, "adapter.<name>")]
            layers.problems.append(Problem(key=seen, text=unknown_key(key, known)))


def _array_within(model: type[BaseModel] | None, parts: list[str]) -> str:
    """The array of tables that a key goes into, empty where it goes into none: its tables have no names here."""
    for depth, part in enumerate(parts[1:], start=1):
        if model is None or part not in model.model_fields:
            return ""
        annotation = model.model_fields[part].annotation
        model = model_in(annotation)
        if model is not None and is_array(annotation):
            return ".".join(parts[: depth + 1])
    return ""


def _in_the_file(array: str) -> str:
    return f"{array} is a list of tables: write each as [[{array}]] in the file"


def _apply_adapter_setting(layers: Layers, parts: list[str], text: str, origin: str) -> None:
    seen = origin if origin != "--set" else f"--set {'.'.join(parts)}"
    if len(parts) < 3:  # adapter, its name, a key
        layers.problems.append(Problem(key=seen, text="names no key: adapter.<name>.<key>=value"))
        return
    wanted = _variable_name(parts[1])
    names = [str(table.get("name", "")) for table in layers.adapters]
    places = [i for i, name in enumerate(names) if _variable_name(name) == wanted]
    if len(places) == 1:
        layers.put(("adapter", places[0], *parts[2:]), parse_text(text, None), origin)
    elif places:
        layers.problems.append(
            Problem(key=seen, text=f"fits more than one adapter: {[names[i] for i in places]}")
        )
    else:
        listed = ", ".join(f'"{name}"' for name in names) or "none"
        layers.problems.append(
            Problem(key=seen, text=f'no adapter is called "{parts[1]}"; there are: {listed}')
        )


def _variable_name(name: str) -> str:
    return name.replace("-", "_").lower()


def _annotation(model: type[BaseModel] | None, parts: list[str]) -> object:
    annotation: object = None
    for part in parts:
        if model is None or part not in model.model_fields:
            return None
        annotation = model.model_fields[part].annotation
        model = model_in(annotation)
    return annotation


def parse_text(text: str, annotation: object) -> object:
    """A value from a flag or a variable: a TOML array or table as such, `a,b` for an array, otherwise text.

    Numbers and booleans stay text here: the model of the key turns them into what it wants.
    """
    stripped = text.strip()
    if stripped[:1] in ("[", "{"):
        try:
            return tomllib.loads(f"value = {stripped}")["value"]
        except tomllib.TOMLDecodeError:
            return text
    return split(text) if is_array(annotation) else text


def split(text: str) -> list[str]:
    """`a, b` as a list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def is_array(annotation: object) -> bool:
    """Whether a field takes several values."""
    origin = typing.get_origin(annotation)
    if origin in (tuple, list, frozenset, set):
        return True
    return origin in (typing.Union, types.UnionType) and any(
        is_array(inner) for inner in typing.get_args(annotation)
    )


__all__ = [
    "OTHER_VARIABLES",
    "PREFIX",
    "Layers",
    "Table",
    "apply_settings",
    "environment_settings",
    "flag_settings",
    "is_array",
    "parse_text",
    "read_file",
    "split",
]
