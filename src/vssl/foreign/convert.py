"""From a foreign file to a checkpoint that `vssl evaluate` scores as any other."""

import difflib
import hashlib
import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from vssl.backbones import catalog
from vssl.backbones.base import Backbone, Input
from vssl.backbones.parts import as_floats, triple, whole
from vssl.backbones.registry import build
from vssl.errors import UserError
from vssl.foreign.layouts import LAYOUTS, Layout
from vssl.foreign.match import Matched, match, read

_VIDEO = (*catalog.TORCHVISION, *catalog.VCOP, *catalog.PYTORCHVIDEO)
_IN_SPEC = ("size", "frames", "stride", "mean", "std")


def convert(
    file: Path,
    out: Path,
    *,
    backbone: str,
    layout: str = "plain",
    key_map: Mapping[str, str | None] | None = None,
    card: Mapping[str, Any] | None = None,
    init_args: Mapping[str, Any] | None = None,
    labels_used: str = "unknown",
) -> tuple[Matched, Input]:
    """Write a checkpoint with the encoder of `file`.

    Args:
        file: Local state dict, bare or inside of a training checkpoint.
        out: Checkpoint to write.
        backbone: Name of a video network or timm model, or class path of a registered encoder.
        layout: One of `LAYOUTS`.
        key_map: See `match`.
        card: Fields of `Input` that are not the layout's.
        init_args: More arguments of the encoder.
        labels_used: Labels that its pretraining used anywhere; "none" for self-supervised.

    Returns:
        The report, and the input that the encoder will get.

    Raises:
        UserError: The file is unsafe, truncated or of another architecture, or an argument is wrong.
    """
    if layout not in LAYOUTS:
        raise UserError(layout, "no such layout", f"There are {', '.join(LAYOUTS)}.")
    rules = LAYOUTS[layout]
    if rules.networks is not None and backbone not in rules.networks:
        raise UserError(backbone, f"layout {layout} holds {', '.join(rules.networks)}", "Choose one of them.")
    tensors, arch = read(file)
    if arch is not None and rules.archs and rules.archs.get(arch) != backbone:
        known = f"it is our {rules.archs[arch]}" if arch in rules.archs else "which is none of our encoders"
        raise UserError(file, f"says its network is {arch}, {known}", f"It cannot be read as {backbone}.")
    encoder, sees = _encoder(backbone, rules, card=dict(card or {}), init_args=dict(init_args or {}))
    matched = match(file, tensors, encoder, layout=rules, network=backbone, key_map=key_map or {})
    source = {
        "labels_used": labels_used,
        "imported_from": file.name,
        "imported_layout": layout,
        "imported_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    _write(out, matched.tensors, spec=encoder.spec(), card=sees, budget=source)
    return matched, sees


def _write(
    out: Path, tensors: Mapping[str, Tensor], *, spec: dict[str, Any], card: Input, budget: dict[str, Any]
) -> None:
    ours = {
        "schema": 1,
        "seen": None,  # nothing is known of what pretraining saw
        "budget": budget,
        "method": "imported",
        "backbone": spec,
        "input": card._asdict(),
        "prefix": "backbone.",
    }
    weights = {f"backbone.{name}": tensor for name, tensor in tensors.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".draft-{out.name}")
    torch.save({"state_dict": weights, "global_step": 0, "epoch": 0, "vssl": ours}, draft)
    os.replace(draft, out)


def read_key_map(file: Path) -> dict[str, str | None]:
    """The mapping of a YAML or JSON file, in its order.

    Raises:
        UserError: No such file, or not a mapping of prefixes to prefixes or null.
    """
    if not file.is_file():
        raise UserError(file, "no such file", "Give a YAML file of lines OLD_PREFIX: NEW_PREFIX (null drops).")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(file, f"is no YAML ({' '.join(str(error).split())[:100]})", "Correct it.") from error
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, str | None) for key, value in content.items()
    ):
        raise UserError(file, "is not a mapping of prefixes to prefixes or null", "Write OLD_PREFIX: NEW_PREFIX lines.")
    return content


def _encoder(
    backbone: str, rules: Layout, *, card: dict[str, Any], init_args: dict[str, Any]
) -> tuple[Backbone, Input]:
    """The encoder, randomly initialised, and its card."""
    wanted = {**rules.card, **card}
    for name in {"size", "frames", "stride"} & wanted.keys():
        whole(wanted[name], name)
    for name in ("mean", "std"):
        if name in wanted:
            wanted[name] = triple(wanted[name], name)
    if 0 in wanted.get("std", ()):
        raise UserError("std", "must not be 0", "Give the standard deviation per channel, of pixels in 0 to 1.")
    path, arguments = _class_path(backbone)
    takes = inspect.signature(type(build({"class_path": path, "init_args": arguments | init_args}))).parameters
    arguments |= {**rules.init_args, **{name: wanted[name] for name in _IN_SPEC if name in wanted and name in takes}}
    encoder = build({"class_path": path, "init_args": arguments | init_args})
    rest = {name: value for name, value in wanted.items() if name in ("mean", "std", "color")}
    rest |= {name: as_floats(rest[name]) for name in ("mean", "std") if name in rest}
    for name in ("size", "frames", "stride"):
        if name in wanted and name not in takes and wanted[name] != getattr(encoder.input, name):
            raise UserError(f"{name}={wanted[name]}", f"{backbone} has a fixed {name}", "Leave it out.")
    return encoder, encoder.input._replace(**rest)


def _class_path(backbone: str) -> tuple[str, dict[str, Any]]:
    if backbone in _VIDEO:
        return "vssl.backbones.VideoBackbone", {"name": backbone}
    if backbone in catalog.MODULES:
        return f"vssl.backbones.{backbone}", {}
    if "." in backbone and backbone.split(".")[0].isidentifier() and backbone.rpartition(".")[2][:1].isupper():
        return backbone, {}
    close = difflib.get_close_matches(backbone, (*_VIDEO, *catalog.MODULES), n=2, cutoff=0.75)
    if close:
        raise UserError(backbone, "no such encoder", f"Did you mean {' or '.join(close)}?")
    return "vssl.backbones.ImageBackbone", {"name": backbone}
