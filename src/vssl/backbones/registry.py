"""From plain values to an encoder, and only to one that is registered: a checkpoint is data, not code."""

import importlib
import inspect
from collections.abc import Mapping
from typing import Any, TypeGuard

from vssl import plugins
from vssl.backbones import catalog
from vssl.backbones.base import Backbone
from vssl.errors import UserError


def registered() -> dict[str, type[Backbone]]:
    """Class path -> class: built-in encoders and those of installed packages (entry-point group `vssl.backbones`).

    Every class stands under the path of its module; a built-in also under `vssl.backbones.NAME`, a plugin's under the
    path of its entry point. Packages are imported here; a broken one is named on standard error and left out.
    """
    classes = _built_in()
    broken = plugins.load(plugins.BACKBONES)
    for plugin in plugins.listed(plugins.BACKBONES):
        cls = None if plugin.path in broken else _imported(plugin.path)
        if _is_backbone(cls):
            for path in (plugin.path, f"{cls.__module__}.{cls.__qualname__}"):
                classes.setdefault(path, cls)
    return classes


def build(spec: Mapping[str, Any], *, trust_imports: bool = False) -> Backbone:
    """The encoder of a spec, randomly initialised (`Backbone.spec()` is the inverse).

    Args:
        spec: `{"class_path": str, "init_args": {name: plain value}}`.
        trust_imports: Also import a class that is not registered, and so run the code of its module.

    Raises:
        UserError: Not a spec, a class that is not registered, or arguments it does not take.
    """
    path, arguments = spec.get("class_path"), spec.get("init_args") or {}
    if not isinstance(path, str) or spec.keys() - {"class_path", "init_args"} or not _is_plain(arguments):
        rule = "an encoder is {class_path: ..., init_args: {...}} of plain values only"
        raise UserError(path or "backbone", rule, "Correct the config, or write the checkpoint again.")
    cls = _find(path, trust_imports)
    try:
        inspect.signature(cls).bind(**arguments)
    except TypeError as error:
        raise UserError(path, str(error), "Give its arguments as `init_args`.") from error
    return cls(**arguments)


def _find(path: str, trust_imports: bool) -> type[Backbone]:
    classes = _built_in()
    if path not in classes:
        classes = registered()  # imports plugins, so only when it is needed
    if path in classes:
        return classes[path]
    if not trust_imports:
        remedy = "Register it under the entry-point group `vssl.backbones`, or pass --trust-imports to run its code."
        raise UserError(path, "no registered encoder has this class path", remedy)
    try:
        cls = _imported(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(path, f"cannot be imported ({error})", "Install its package, or correct the path.") from error
    if not _is_backbone(cls):
        raise UserError(path, "is not a subclass of vssl.Backbone", "Name one.")
    return cls


def _built_in() -> dict[str, type[Backbone]]:
    classes: dict[str, type[Backbone]] = {}
    for name, module in catalog.MODULES.items():
        cls = getattr(importlib.import_module(module), name)
        classes[f"vssl.backbones.{name}"] = classes[f"{module}.{name}"] = cls
    return classes


def _imported(path: str) -> object:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _is_backbone(value: object) -> TypeGuard[type[Backbone]]:
    return isinstance(value, type) and issubclass(value, Backbone)


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, str | int | float | bool)
