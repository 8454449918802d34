"""Entry points: listed without importing, loaded with the culprit's name when one is broken. Standard library only."""

import importlib
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple

METHODS = "vssl.methods"
BACKBONES = "vssl.backbones"


class Plugin(NamedTuple):
    """One entry point."""

    name: str
    path: str
    """Dotted class path, to paste as `class_path`."""
    package: str
    version: str


def listed(group: str) -> list[Plugin]:
    """What is installed under an entry-point group, by name; nothing is imported."""
    plugins = {_plugin(point) for point in entry_points(group=group)}
    return sorted(plugins, key=lambda p: (not p.path.startswith("vssl."), p.name, p.path))


def load(group: str) -> dict[str, str]:
    """Import every plugin's module, so that class paths resolve.

    A broken plugin is named on standard error and breaks nothing else.

    Returns:
        path -> error of the broken ones.
    """
    broken: dict[str, str] = {}
    for plugin in listed(group):
        module, _, attribute = plugin.path.rpartition(".")
        try:
            getattr(importlib.import_module(module), attribute)
        except Exception as error:  # a plugin is foreign code: whatever it raises is reported under its own name
            broken[plugin.path] = f"{type(error).__name__}: {error}"
            line = f"vssl: warning: plugin {plugin.name} of {plugin.package} {plugin.version}: {broken[plugin.path]}"
            sys.stderr.write(" ".join(line.split()) + "\n")  # logging is not set up yet
    return broken


def _plugin(point: EntryPoint) -> Plugin:
    package = point.dist.name if point.dist else "?"
    version = point.dist.version if point.dist else "?"
    return Plugin(point.name, point.value.replace(":", "."), package, version)
