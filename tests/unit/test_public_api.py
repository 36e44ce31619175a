"""Public means listed: every name resolves, is sorted into `__all__`, and says what it is."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

import adapters
import bus
import gateway
import medmesh
import schemas


def modules() -> Iterator[str]:
    for package in (schemas, bus, adapters, gateway, medmesh):
        yield package.__name__
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if "generated" not in found.name and not found.name.endswith("__main__"):
                yield found.name


@pytest.mark.parametrize("name", sorted(modules()))
def test_every_module_says_what_it_is_for(name: str) -> None:
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip(" ."), f"{name} has no docstring"


@pytest.mark.parametrize("name", sorted(modules()))
def test_every_listed_name_resolves_and_is_documented(name: str) -> None:
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", [])
    assert len(listed) == len(set(listed))
    for public in listed:
        assert_documented(module, public)


def assert_documented(module: ModuleType, public: str) -> None:
    value = getattr(module, public)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__doc__, f"{module.__name__}.{public} has no docstring"
