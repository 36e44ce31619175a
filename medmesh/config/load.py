"""From files, variables and flags to one checked `Configuration`, or to every problem at once."""

from __future__ import annotations

import os
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ValidationError

from medmesh.config import checks, kinds
from medmesh.config.checks import ConfiguredAdapter
from medmesh.config.layers import (
    PREFIX,
    Layers,
    Table,
    apply_settings,
    environment_settings,
    flag_settings,
    is_array,
    read_file,
    split,
)
from medmesh.config.problems import (
    ConfigurationProblems,
    Place,
    Problem,
    explain,
    key_path,
    model_in,
    nearest,
    unknown_key,
)
from schemas import subjects
from schemas.config import MeshSection, SiteConfig
from schemas.errors import ConfigurationError
from schemas.subjects import SiteId

DEFAULT_FILE = Path("mesh.toml")


class ConfigurationMissing(ConfigurationError, LookupError):
    """There is no configuration file where one was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A whole configuration, checked."""

    settings: SiteConfig
    adapters: tuple[ConfiguredAdapter, ...]
    file: Path | None
    """The file that was read; None when there is none."""
    origins: Mapping[Place, str] = field(repr=False)
    """Where each value that was set came from; what is not here is a default."""

    @property
    def site(self) -> SiteId:
        """Name of the site."""
        return SiteId(self.settings.mesh.site)


def load(
    path: Path | None = None,
    *,
    flags: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    must_exist: bool = True,
) -> Configuration:
    """Read and check a configuration: flags over MEDMESH_* over the file over defaults.

    `path` None means ./mesh.toml. Raises `ConfigurationProblems` with everything that is wrong, or
    `ConfigurationMissing` when the file is needed (`must_exist`, or named by `path`) and not there.
    """
    file = path or DEFAULT_FILE
    layers = Layers()
    found = _read(file, layers, must_exist=must_exist or path is not None)
    source = str(file) if found else "configuration"
    variables = os.environ if environment is None else environment
    apply_settings(layers, environment_settings(variables))
    settings, wrong_flags = flag_settings(flags)
    layers.problems += wrong_flags
    apply_settings(layers, settings)
    base = file.absolute().parent if found else Path.cwd()
    site_config = _site_config(layers, base)
    adapters = _adapters(layers, base, site_config)
    if layers.problems or site_config is None:
        raise ConfigurationProblems(source, layers.problems)
    return Configuration(
        settings=site_config,
        adapters=tuple(adapters),
        file=file if found else None,
        origins=layers.origins,
    )


def _read(file: Path, layers: Layers, *, must_exist: bool) -> bool:
    try:
        table = read_file(file)
    except FileNotFoundError:
        if must_exist:
            raise ConfigurationMissing(
                f"{file}: there is no such file. Name another with -c, or write one: "
                "`medmesh demo --print-config` prints an example"
            ) from None
        return False
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationProblems(
            str(file), [Problem(key="", text=f"is not TOML: {error}")]
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from error
    layers.add_table(table, str(file))
    return True


def _site_config(layers: Layers, base: Path) -> SiteConfig | None:
    tables: Table = {}
    for name, value in layers.values.items():
        if name in SiteConfig.model_fields:
            tables[name] = value
        elif name != "adapter":
            known = [*SiteConfig.model_fields, "adapter"]
            layers.problems.append(
                Problem(
                    key=name,
                    text=unknown_key(name, known).replace("unknown key", "unknown section"),
                )
            )
    mesh = tables.setdefault("mesh", {})
    if isinstance(mesh, dict) and "data" not in mesh:
        # the default is beside the file as well, wherever the program is started
        tables["mesh"] = {**mesh, "data": str(MeshSection().data)}
    _prepare(SiteConfig, tables, (), layers, base)
    try:
        return SiteConfig.model_validate(tables)
    except ValidationError as error:
        layers.problems += explain(error, SiteConfig, (), ())
        return None


def _adapters(
    layers: Layers, base: Path, site_config: SiteConfig | None
) -> list[ConfiguredAdapter]:
    listed = layers.values.get("adapter", [])
    if not isinstance(listed, list) or not all(isinstance(table, dict) for table in listed):
        layers.problems.append(
            Problem(key="adapter", text="write each adapter as a section of its own: [[adapter]]")
        )
        return []
    names = [str(table.get("name", "")) for table in layers.adapters]
    site = _checked_site(site_config)
    adapters = []
    for i, table in enumerate(layers.adapters):
        if (adapter := _adapter(i, table, layers, base, names, site)) is not None:
            adapters.append(adapter)
    layers.problems += checks.wrong_names(names)
    gateway = site_config.gateway if site_config is not None else None
    layers.problems += checks.shared_listeners(checks.listeners(adapters, gateway))
    if gateway is not None:
        layers.problems += checks.open_gateway(gateway)
    layers.problems += checks.unknown_receipts(adapters, names)
    if site is not None:
        layers.problems += checks.foreign_subjects(adapters, site)
    return adapters


def _checked_site(site_config: SiteConfig | None) -> SiteId | None:
    return subjects.site_id(site_config.mesh.site) if site_config is not None else None


def _adapter(
    i: int, table: Table, layers: Layers, base: Path, names: Sequence[str], site: SiteId | None
) -> ConfiguredAdapter | None:
    kind_name = table.get("kind")
    known = kinds.known_kinds()
    if not isinstance(kind_name, str) or kind_name not in known:
        key = key_path(("adapter", i, "kind"), names)
        listed = ", ".join(known)
        if kind_name is None:
            text = f"is missing; kinds: {listed}"
        else:
            text = f'"{kind_name}" is no kind of adapter{nearest(str(kind_name), known) or ";"} kinds: {listed}'
        layers.problems.append(Problem(key=key, text=text))
        return None
    try:
        kind = kinds.load_kind(kind_name)
    except ConfigurationError as error:
        layers.problems.append(Problem(key=key_path(("adapter", i), names), text=str(error)))
        return None
    _prepare(kind.config, table, ("adapter", i), layers, base)
    try:
        config = kind.config.model_validate(table)
    except ValidationError as error:
        layers.problems += explain(error, kind.config, ("adapter", i), names)
        return None
    adapter, problems = checks.rights_of(kind, config, site or SiteId("main"), i)
    layers.problems += problems
    return adapter


def _prepare(
    model: type[BaseModel], table: Table, place: Place, layers: Layers, base: Path
) -> None:
    """Make paths absolute, those of the file from its folder; split `a,b` from flags and variables for arrays."""
    for name, info in model.model_fields.items():
        if name not in table:
            continue
        here = (*place, name)
        from_file = not layers.origins.get(here, "").startswith(("--", PREFIX))
        folder = base if from_file else Path.cwd()
        value, inner = table[name], model_in(info.annotation)
        if isinstance(value, str) and is_array(info.annotation) and not from_file:
            value = split(value)
        if inner is not None and isinstance(value, dict):
            value = dict(value)
            _prepare(inner, value, here, layers, base)
        elif inner is not None and isinstance(value, list):
            value = [dict(one) if isinstance(one, dict) else one for one in value]
            for i, one in enumerate(value):
                if isinstance(one, dict):
                    _prepare(inner, one, (*here, i), layers, base)
        elif holds_path(info.annotation):
            value = _absolute(value, folder)
        table[name] = value


def _absolute(value: object, folder: Path) -> object:
    if isinstance(value, str):
        return str(folder / Path(value).expanduser())
    return [_absolute(item, folder) for item in value] if isinstance(value, list) else value


def holds_path(annotation: object) -> bool:
    """Whether a field takes a path (or several)."""
    if annotation is Path:
        return True
    return any(holds_path(inner) for inner in typing.get_args(annotation))


__all__ = ["DEFAULT_FILE", "Configuration", "ConfigurationMissing", "load"]
