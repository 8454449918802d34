"""Checkpoints are data: read with `weights_only=True`, and only registered encoders are built from them."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vssl import staged
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
    """Clips seen, hours and the like, phases included."""
    frozen: dict[str, dict[str, Any]]
    """Name -> spec of frozen encoders that it learnt from."""
    phases: list[dict[str, Any]]
    """Runs that this one started from, first to last; each with method, step, epoch, sha, file, budget, seen."""


def load(path: Path) -> dict[str, Any]:
    """The whole checkpoint, as it was saved.

    Raises:
        UserError: No file, truncated, unsafe, or not written by vssl.
    """
    if not path.is_file():
        raise UserError(path, "no such checkpoint", "Give a .ckpt file or a run directory.")
    checkpoint = read_plain(path)
    if not isinstance(checkpoint, dict) or "backbone" not in (checkpoint.get("vssl") or {}):
        remedy = "Give one that vssl fit wrote, or turn weights from elsewhere into one: vssl import."
        raise UserError(path, "not a vssl checkpoint: no embedded encoder", remedy)
    return checkpoint


def resolve(path: str | Path) -> Path:
    """The checkpoint file a path means: itself, or a run directory's last one (of its last finished stage)."""
    path = Path(path)
    return staged.last_stage(path) / "checkpoints" / "last.ckpt" if path.is_dir() else path


def read(path: str | Path) -> CheckpointInfo:
    """What a checkpoint says of itself.

    Raises:
        UserError: No file, truncated, unsafe, or not written by vssl.
    """
    file = resolve(path)
    return describe(file, load(file))


def describe(file: Path, checkpoint: dict[str, Any]) -> CheckpointInfo:
    """What a checkpoint that was loaded from `file` says of itself."""
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
        phases=ours.get("phases", []),
    )


def backbone_weights(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The encoder's tensors of a loaded checkpoint, named as in the encoder."""
    prefix = checkpoint["vssl"]["prefix"]
    return {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}


def load_backbone(path: str | Path, *, trust_imports: bool = False) -> Backbone:
    """The trained encoder of a checkpoint or run directory, in eval mode; its card is `backbone.input`.

    Args:
        path: A .ckpt file or a run directory (its last checkpoint is taken).
        trust_imports: Also build encoders that no installed package registers; imports what the checkpoint names.

    Raises:
        UserError: No file, truncated, unsafe, an unknown encoder, or weights that do not fit it.
    """
    file = resolve(path)
    checkpoint = load(file)
    backbone = build(checkpoint["vssl"]["backbone"], trust_imports=trust_imports)
    backbone.input = card(file, checkpoint) or backbone.input
    try:
        backbone.load_state_dict(backbone_weights(checkpoint), strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(file, f"its weights do not fit its encoder ({reason})", "The file was changed.") from None
    return backbone.eval()


def card(file: Path, checkpoint: dict[str, Any]) -> Input | None:
    """What imported weights want to see, which comes with them; None for a run's own, whose encoder says it."""
    fields = checkpoint["vssl"].get("input")
    try:
        return None if fields is None else Input(**fields)
    except TypeError as error:
        raise UserError(file, f"its input card is not readable ({error})", "The file was changed.") from None
