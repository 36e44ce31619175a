"""A configuration as a flat list for people and machines: key, value, where it came from. Secrets are masked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from medmesh.config.load import Configuration
from medmesh.config.problems import SECRET_KEYS, Place, key_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One key as it is in force."""

    key: str
    value: object
    """Text, number, boolean, None or a list of those: ready for JSON."""
    origin: str
    """The file, the variable, `--set` or `default`."""
    description: str


def settings(configuration: Configuration) -> list[Setting]:
    """Every key in force, section by section, then the adapters in their order."""
    names = [adapter.config.name for adapter in configuration.adapters]
    found = [_setting(configuration, names, *item) for item in _walk(configuration.settings, ())]
    for adapter in configuration.adapters:
        items = _walk(adapter.config, ("adapter", adapter.place))
        found += [_setting(configuration, names, *item) for item in items]
    return found


def _setting(
    configuration: Configuration, names: list[str], place: Place, value: object, description: str
) -> Setting:
    secret = bool(value) and place[-1] in SECRET_KEYS
    return Setting(
        key=key_path(place, names),
        value="(hidden)" if secret else _plain(value),
        origin=configuration.origins.get(place, "default"),
        description=description,
    )


def _walk(model: BaseModel, place: Place) -> Iterator[tuple[Place, object, str]]:
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _walk(value, (*place, name))
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            for i, one in enumerate(value):
                yield from _walk(one, (*place, name, i))
        else:
            yield (*place, name), value, info.description or ""


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list | frozenset | set):
        return [_plain(item) for item in value]
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    return str(getattr(value, "value", value))


__all__ = ["Setting", "settings"]
