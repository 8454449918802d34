"""Pictures in TensorBoard: what a method sees, and what it attends to. Looking must not change anything."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torchvision.utils import make_grid
from typing_extensions import override

from vssl.data.manifest import Manifest
from vssl.data.strips import strip
from vssl.methods.base import Method
from vssl.types import Batch


class Pictures(Callback):
    """Contact sheets of the first batch, and the method's own pictures of it as training goes on.

    `views/NAME` shows every view as the network gets it, once: a row per video, its views from left to right.
    `shots` shows, for a manifest with shots, the same videos whole, with their cuts. What
    `Method.pictures` gives is shown before the first step, every `every` steps and at the end, always of the same
    videos. Weights, buffers and random numbers are bit-identical with and without it. Without TensorBoard, and on
    every process but the first, it does nothing.

    Args:
        videos: Rows of a sheet.
        frames: Most frames shown of a clip, evenly spaced.
        every: Steps between two looks.
    """

    def __init__(self, videos: int = 8, frames: int = 8, every: int = 1000) -> None:
        self.videos, self.frames, self.every = videos, frames, every
        self._batch: Batch | None = None
        self._shown = -1

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keep the first batch's first videos; look when it is time."""
        if _board(trainer) is None:
            return
        assert isinstance(pl_module, Method)
        if self._batch is None:
            self._batch = _first(batch, self.videos)
            if trainer.global_step == 0:
                with _looking(pl_module):
                    for name in self._batch.views:
                        _show(trainer, f"views/{name}", contact_sheet(pl_module, self._batch, name, self.frames))
                _show_cuts(trainer, self._batch)
        if trainer.global_step % self.every == 0:
            self._look(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at what came out."""
        if self._batch is not None:
            self._look(trainer, pl_module)

    def _look(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Method)
        assert self._batch is not None
        if trainer.global_step == self._shown:  # accumulated micro-batches share a step
            return
        self._shown = trainer.global_step
        with _looking(pl_module):
            for name, sheet in pl_module.pictures(self._batch).items():
                _show(trainer, name, sheet)


def contact_sheet(method: Method, batch: Batch, name: str, most: int) -> Float[Tensor, "b columns 3 h w"]:
    """A finished view back in [0, 1]: a row per video, V times up to `most` frames."""
    view, x = method.recipe.views[name], method.view(batch, name)  # (B, V, T, 3, H, W)
    mean, std = (x.new_tensor(values).view(3, 1, 1) for values in (view.mean, view.std))
    count = min(x.shape[2], most)
    places = torch.linspace(0, x.shape[2] - 1, count).round().long().to(x.device)
    return x[:, :, places].mul(std).add(mean).clamp(0, 1).flatten(1, 2)


@contextmanager
def _looking(method: Method) -> Iterator[None]:
    """Evaluation mode, no gradient, random numbers untouched; every module's own mode comes back."""
    modes = {module: module.training for module in method.modules()}
    devices = [method.device] if method.device.type == "cuda" else []
    method.eval()
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _first(batch: Batch, count: int) -> Batch:
    """The first videos of a batch, copied: a loader may use its memory again."""

    def cut(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[:count].clone()
        return {name: cut(each) for name, each in value.items()}

    return Batch(*map(cut, batch))


def _board(trainer: Trainer) -> Any:
    """TensorBoard's writer, on the first process."""
    found = (each for each in trainer.loggers if isinstance(each, TensorBoardLogger))
    logger = next(found, None) if trainer.is_global_zero else None
    return None if logger is None else logger.experiment


def _show_cuts(trainer: Trainer, batch: Batch) -> None:
    """Strips of the batch's videos where shots were searched."""
    manifest = getattr(getattr(trainer, "datamodule", None), "manifest", None)
    rows = batch.row.tolist()
    if isinstance(manifest, Manifest) and all(manifest.meta(row).cuts is not None for row in rows):
        strips = np.concatenate([strip(manifest, row) for row in rows])
        _board(trainer).add_image("shots", strips, trainer.global_step, dataformats="HWC")


def _show(trainer: Trainer, name: str, sheet: Float[Tensor, "rows columns 3 h w"]) -> None:
    grid = make_grid(sheet.flatten(0, 1).float().cpu(), nrow=sheet.shape[1])
    _board(trainer).add_image(name, grid, trainer.global_step)
