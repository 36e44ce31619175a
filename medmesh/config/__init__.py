"""Configuration: one `mesh.toml` a site, checked as a whole before anything starts."""

from medmesh.config.checks import ConfiguredAdapter
from medmesh.config.load import DEFAULT_FILE, Configuration, ConfigurationMissing, load
from medmesh.config.problems import ConfigurationProblems, Problem
from medmesh.config.show import Setting, settings

__all__ = [
    "DEFAULT_FILE",
    "Configuration",
    "ConfigurationMissing",
    "ConfigurationProblems",
    "ConfiguredAdapter",
    "Problem",
    "Setting",
    "load",
    "settings",
]
