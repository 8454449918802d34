"""Features of many encoders from one decoding pass.

B videos of a batch, V clips per video, T frames, D feature width, n videos whose features were computed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from vssl.backbones.base import Backbone, Input
from vssl.errors import UserError
from vssl.evaluate.protocol import NATIVE, Protocol
from vssl.seeds import seeded
from vssl.views.augment import center, three_crops
from vssl.views.plan import Recipe, View
from vssl.views.samplers import UniformClips

VIEW = "clips"
CLIPS_AT_ONCE = 16
"""Clips per forward pass: bounds the memory."""
SHARD = 256
"""Videos after which features are handed on, to be kept."""

Order = Literal["normal", "frozen", "shuffled", "reversed"]


class Lost(NamedTuple):
    """A video that could not be read: listed beside the score, never replaced."""

    row: int
    path: str
    reason: str


class Column(NamedTuple):
    """One table of features: an encoder, its input, and the order of the frames it is shown."""

    backbone: Backbone
    card: Input
    order: Order = "normal"


class Features(NamedTuple):
    """Features of one column, of all videos or of some."""

    rows: np.ndarray
    """(n,) int64 rows of the manifest, ascending."""
    values: np.ndarray
    """(n, D) float32, mean over clips."""
    lost: list[Lost]


def card_of(protocol: Protocol, backbone: Backbone) -> Input:
    """The input an encoder gets: its own card's under `input: native`, else the protocol's."""
    if protocol.native:
        return backbone.input
    fixed = {name: value for name, value in protocol["input"].items() if value != NATIVE}
    fixed |= {name: tuple(fixed[name]) for name in ("mean", "std") if name in fixed}
    return backbone.input._replace(**fixed)


def recipe(protocol: Protocol, card: Input, *, clips: int | None = None, pace: int = 1) -> Recipe:
    """Which frames the protocol looks at and how they are cut; `clips` overrides the protocol's number.

    Rows of a view are clips x crops, the crops of one clip one after the other.
    """
    num_clips = protocol["views.clips"] if clips is None else clips
    crops, fraction = (1 if clips else protocol["views.crops"]), protocol["views.crop_fraction"]
    fps = protocol.fields.get("views.fps")
    sampler = UniformClips(num_clips, card.frames, card.stride * pace, crops=crops, fps=fps)
    augments = three_crops(fraction) if crops == 3 else (center(fraction),)
    size = protocol.fields.get("views.size", card.size)
    return Recipe(sampler, {VIEW: View(augments, size, card.mean, card.std)})


def stream(
    columns: Mapping[str, Column],
    *,
    loader: Iterable[Any],
    num_videos: int,
    device: str = "cpu",
    console: Console | None = None,
) -> Iterator[dict[str, Features]]:
    """Mean-over-clips features of every column, each video decoded once; yields after every `SHARD` videos or so.

    `loader` yields (batch or None, failures); a batch has `views["clips"]` (B, V, T, 3, H, W) uint8 and `row` (B,); a
    failure has `row`, `path` and `reason`. All encoders see the same pixels, each normalised as its own card says; so
    size, frames and stride of the cards must agree. Every video is computed on its own: neither its neighbours nor
    the batch size matter.

    Raises:
        UserError: an encoder yields features that are not finite.
    """
    assert len({(c.card.size, c.card.frames, c.card.stride) for c in columns.values()}) == 1
    parts: dict[str, list[Tensor]] = {name: [] for name in columns}
    rows: list[Tensor] = []
    lost: list[Lost] = []
    pending = 0
    for column in columns.values():
        column.backbone.to(device).eval()
    with Progress(console=console, transient=True, disable=console is None) as progress:
        task = progress.add_task(f"features: {len(columns)} columns", total=num_videos)
        for batch, failures in loader:
            lost += [Lost(int(f.row), str(f.path), str(f.reason)) for f in failures]
            if batch is not None:
                rows.append(batch.row.cpu())
                _add(parts, columns, batch, device=device)
            done = len(failures) + (0 if batch is None else len(batch.row))
            progress.advance(task, done)
            pending += done
            if pending >= SHARD:
                yield _collect(rows, parts, lost)
                parts, rows, lost, pending = {name: [] for name in columns}, [], [], 0
    if pending:
        yield _collect(rows, parts, lost)


@contextmanager
def full_precision() -> Iterator[None]:
    """float32 throughout: on a GPU convolutions are left to TF32 by default. What was set before is set again."""
    cudnn: Any = torch.backends.cudnn  # its stubs lack the operators
    operators = [cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul]
    before = [each.fp32_precision for each in operators]
    try:
        for each in operators:
            each.fp32_precision = "ieee"
        yield
    finally:
        for each, precision in zip(operators, before, strict=True):
            each.fp32_precision = precision


def _add(parts: dict[str, list[Tensor]], columns: Mapping[str, Column], batch: Any, *, device: str) -> None:
    pixels, ordered = batch.views[VIEW], {}
    with torch.inference_mode(), full_precision():  # not around a yield: the caller would run under it
        for name, (backbone, card, order) in columns.items():
            if order not in ordered:
                ordered[order] = reorder(pixels, order, batch.row)
            parts[name].append(encode(backbone, ordered[order], card, device=device))


def reorder(
    pixels: UInt8[Tensor, "b v t 3 h w"], order: Order, rows: Int[Tensor, " b"]
) -> UInt8[Tensor, "b v t 3 h w"]:
    """The clips with their frames as the variant wants them; a clip of one frame stays as it is.

    "frozen": the middle frame T // 2, repeated. "shuffled": a draw that depends on the video's row alone, the same for
    all its clips, never the order it was in.
    """
    num_frames = pixels.shape[2]
    if order == "normal" or num_frames == 1:
        return pixels
    if order == "frozen":
        return pixels[:, :, num_frames // 2, None].expand_as(pixels)
    if order == "reversed":
        return pixels.flip(2)
    return torch.stack([clips[:, _shuffle(num_frames, int(row))] for clips, row in zip(pixels, rows, strict=True)])


def _shuffle(num_frames: int, row: int) -> Tensor:
    rng = seeded("shuffled", row)
    while torch.equal(found := torch.randperm(num_frames, generator=rng), torch.arange(num_frames)):
        pass
    return found


def encode(
    encoder: Backbone, pixels: UInt8[Tensor, "b v t 3 h w"], card: Input, *, device: str = "cpu"
) -> Float[Tensor, "b d"]:
    """Mean over the clips of each video.

    One video at a time: a convolution rounds differently for another batch, and a score must not depend on it.
    """
    return torch.stack([_of_video(encoder, clips.to(device), card) for clips in pixels])


def _of_video(encoder: Backbone, clips: UInt8[Tensor, "v t 3 h w"], card: Input) -> Float[Tensor, " d"]:
    parts = [encoder(normalise(part, card)).float() for part in clips.split(CLIPS_AT_ONCE)]
    return torch.cat(parts).mean(dim=0).cpu()


def normalise(clips: UInt8[Tensor, "n t 3 h w"], card: Input) -> Float[Tensor, "n t 3 h w"]:
    """Pixels to what the card asks for: (x / 255 - mean) / std, channels turned for a BGR encoder."""
    return standardise(clips.float() / 255, card)


def standardise(scaled: Float[Tensor, "n t 3 h w"], card: Input) -> Float[Tensor, "n t 3 h w"]:
    """RGB in [0, 1] to what the card asks for."""
    if card.color == "bgr":
        scaled = scaled.flip(2)
    shape = (1, 1, 3, 1, 1)
    mean, std = (torch.tensor(values, device=scaled.device).view(shape) for values in (card.mean, card.std))
    return (scaled - mean) / std


def _collect(rows: Sequence[Tensor], parts: Mapping[str, list[Tensor]], lost: list[Lost]) -> dict[str, Features]:
    every = torch.cat(list(rows)).numpy().astype(np.int64) if rows else np.empty(0, np.int64)
    order = np.argsort(every, kind="stable")
    found = {}
    for name, part in parts.items():
        table = torch.cat(part).numpy()[order] if part else np.empty((0, 0), np.float32)
        if bad := int((~np.isfinite(table)).any(axis=1).sum()):
            raise UserError(
                name, f"features of {bad} of {len(table)} videos are not finite", "Take an earlier checkpoint"
            )
        found[name] = Features(every[order], table, sorted(lost))
    return found
