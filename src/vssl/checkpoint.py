"""Checkpoints are data: read with `weights_only=True`, and only registered encoders are built from them."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from vssl.backbones.base import Backbone, Input
from vssl.backbones.files import read_plain
from vssl.backbones.registry import build
from vssl.errors import UserError


class CheckpointInfo(NamedTuple):
    """What a checkpoint says of itself, its weights aside."""

    path: Path
    spec: dict[str, Any]
    """Rebuilds the encoder (`Backbone.spec`)."""
    method: str
    """Dotted path of the method class."""
    step: int
    epoch: int
    sha: str
    """SHA-256 of the file."""
    seen: dict[str, Any] | None
    """What pretraining saw (`VideoDataModule.seen`); None when unknown."""
    budget: dict[str, Any]
    """Clips seen, hours and the like."""
    frozen: dict[str, dict[str, Any]]
    """Name -> spec of frozen encoders that it learnt from."""


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(path, "no such checkpoint", "Give a .ckpt file or a run directory.")
    checkpoint = read_plain(path)
    if not isinstance(checkpoint, dict) or "backbone" not in (checkpoint.get("vssl") or {}):
        remedy = "Give one that vssl fit wrote, or turn weights from elsewhere into one: vssl import."
        raise UserError(path, "not a vssl checkpoint: no embedded encoder", remedy)
    return checkpoint


def resolve(path: str | Path) -> Path:
    """The checkpoint file a path means: itself, or a run directory's last one."""
    path = Path(path)
    return path / "checkpoints" / "last.ckpt" if path.is_dir() else path


def read(path: str | Path) -> CheckpointInfo:
    """What a checkpoint says of itself.

    Raises:
        UserError: No file, truncated, unsafe, or not written by vssl.
    """
    file = resolve(path)
    checkpoint = _load(file)
    ours = checkpoint["vssl"]
    return CheckpointInfo(
        path=file,
        spec=ours["backbone"],
        method=ours["method"],
        step=int(checkpoint["global_step"]),
        epoch=int(checkpoint["epoch"]),
        sha=hashlib.sha256(file.read_bytes()).hexdigest(),
        seen=ours.get("seen"),
        budget=ours.get("budget", {}),
        frozen=ours.get("frozen", {}),
    )


def load_backbone(path: str | Path, *, trust_imports: bool = False) -> Backbone:
    """The trained encoder of a checkpoint or run directory, in eval mode; its card is `backbone.input`.

    Args:
        path: A .ckpt file or a run directory (its last checkpoint is taken).
        trust_imports: Also build encoders that no installed package registers; imports what the checkpoint names.

    Raises:
        UserError: No file, truncated, unsafe, an unknown encoder, or weights that do not fit it.
    """
    file = resolve(path)
    checkpoint = _load(file)
    ours = checkpoint["vssl"]
    backbone = build(ours["backbone"], trust_imports=trust_imports)
    if "input" in ours:  # of imported weights: what they want to see comes with them
        backbone.input = _card(file, ours["input"])
    prefix = ours["prefix"]
    weights = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    try:
        backbone.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(file, f"its weights do not fit its encoder ({reason})", "The file was changed.") from None
    return backbone.eval()


def _card(file: Path, fields: Any) -> Input:
    try:
        return Input(**fields)
    except TypeError as error:
        raise UserError(file, f"its input card is not readable ({error})", "The file was changed.") from None
