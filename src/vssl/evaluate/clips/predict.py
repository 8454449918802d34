"""A classifier's answers on whole videos: every clip and crop, then their mean. N videos, V views, C classes."""

from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from rich.progress import Progress

from vssl.backbones.base import Input
from vssl.data.dataset import evaluation_loader
from vssl.data.manifest import Manifest
from vssl.distributed import is_active, rank, world_size
from vssl.evaluate.clips.network import Network
from vssl.evaluate.features import CLIPS_AT_ONCE, VIEW, Lost, full_precision, normalise, recipe
from vssl.evaluate.passes import Settings
from vssl.evaluate.protocol import Protocol


class Votes(NamedTuple):
    """What was answered for the videos that could be read."""

    rows: np.ndarray
    """(N,) int64, ascending."""
    values: np.ndarray
    """(N, C) float32: mean over views of the logits or of their softmax, as the protocol says."""
    views: np.ndarray
    """(N, V) int64: answer of every view."""
    lost: list[Lost]


def predict(
    net: Network,
    rows: np.ndarray,
    *,
    protocol: Protocol,
    card: Input,
    manifest: Manifest,
    settings: Settings,
    device: torch.device,
) -> Votes:
    """Answer for every row; ranks share the rows out, and all get the whole answer."""
    mine, was = rows[rank() :: world_size()], net.training
    net.to(device).eval()
    loader = evaluation_loader(
        manifest,
        mine,
        recipe=recipe(protocol, card),
        reader=settings.reader,
        num_workers=settings.num_workers,
        batch_size=settings.batch_size,
    )
    parts: list[tuple[int, np.ndarray, np.ndarray]] = []
    lost: list[Lost] = []
    with Progress(console=settings.console, transient=True, disable=settings.console is None or rank() > 0) as progress:
        bar = progress.add_task("predicting", total=len(mine))
        for batch, failures in loader:
            lost += [Lost(int(f.row), str(f.path), str(f.reason)) for f in failures]
            progress.advance(bar, len(failures))
            for row, clips in zip(batch.row.tolist(), batch.views[VIEW], strict=True) if batch else ():
                logits = _logits(net, clips, card, device)
                votes = logits.softmax(-1) if protocol["views.average"] == "softmax" else logits
                parts.append((row, votes.mean(0).cpu().numpy(), logits.argmax(-1).cpu().numpy()))
                progress.advance(bar)
    net.train(was)
    if is_active():
        shares: list[tuple[list[tuple[int, np.ndarray, np.ndarray]], list[Lost]]] = [([], [])] * world_size()
        dist.all_gather_object(shares, (parts, lost))
        parts, lost = [p for share, _ in shares for p in share], [v for _, share in shares for v in share]
    return _stack(parts, sorted(lost))


@torch.inference_mode()
def _logits(net: Network, clips: torch.Tensor, card: Input, device: torch.device) -> torch.Tensor:
    # one video at a time, as features: a score must not depend on the batch it is computed in
    with full_precision():
        return torch.cat([net(normalise(part.to(device), card)).float() for part in clips.split(CLIPS_AT_ONCE)])


def _stack(parts: list[tuple[int, np.ndarray, np.ndarray]], lost: list[Lost]) -> Votes:
    parts.sort(key=lambda part: part[0])
    rows = np.array([row for row, _, _ in parts], np.int64)
    if not parts:
        return Votes(rows, np.empty((0, 0), np.float32), np.empty((0, 0), np.int64), lost)
    return Votes(rows, np.stack([v for _, v, _ in parts]), np.stack([v for _, _, v in parts]), lost)
