"""Features of many encoders from one decoding pass.

B videos of a batch, V clips per video, T frames, D feature width, n videos whose features were computed.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from vssl.backbones.base import Backbone, Input
from vssl.errors import UserError
from vssl.evaluate.protocol import Protocol
from vssl.views.augment import center
from vssl.views.plan import Recipe, View
from vssl.views.samplers import UniformClips

VIEW = "clips"
CLIPS_AT_ONCE = 16
"""Clips per forward pass: bounds the memory."""


class Lost(NamedTuple):
    """A video that could not be read: listed beside the score, never replaced."""

    row: int
    path: str
    reason: str


class Features(NamedTuple):
    """What `extract` found."""

    rows: np.ndarray
    """(n,) int64 rows of the manifest, ascending."""
    values: dict[str, np.ndarray]
    """Encoder name -> (n, D) float32, mean over clips."""
    lost: list[Lost]


def card_of(protocol: Protocol, backbone: Backbone) -> Input:
    """The input an encoder gets: its own card's under `input: native`, else the protocol's."""
    if protocol.native:
        return backbone.input
    fixed = protocol["input"]
    return Input(
        size=fixed["size"],
        frames=fixed["frames"],
        stride=fixed["stride"],
        mean=tuple(fixed["mean"]),
        std=tuple(fixed["std"]),
        color=fixed["color"],
    )


def recipe(protocol: Protocol, card: Input, *, clips: int | None = None) -> Recipe:
    """Which frames the protocol looks at and how they are cut; `clips` overrides the protocol's number."""
    num_clips = protocol["views.clips"] if clips is None else clips
    sampler = UniformClips(clips=num_clips, frames=card.frames, stride=card.stride)
    augment = center(protocol["views.crop_fraction"])
    return Recipe(sampler, {VIEW: View((augment,), card.size, card.mean, card.std)})


def extract(
    encoders: Mapping[str, Backbone],
    *,
    cards: Mapping[str, Input],
    loader: Iterable[Any],
    num_videos: int,
    device: str = "cpu",
    console: Console | None = None,
) -> Features:
    """Mean-over-clips features of every encoder, each video decoded once.

    `loader` yields (batch or None, failures); a batch has `views["clips"]` (B, V, T, 3, H, W) uint8 and `row` (B,); a
    failure has `row`, `path` and `reason`. All encoders see the same pixels, each normalised as its own card says; so
    size, frames and stride of the cards must agree. Every video is computed on its own: neither its neighbours nor
    the batch size matter.

    Raises:
        UserError: an encoder yields features that are not finite.
    """
    assert len({(card.size, card.frames, card.stride) for card in cards.values()}) == 1
    parts: dict[str, list[Tensor]] = {name: [] for name in encoders}
    rows: list[Tensor] = []
    lost: list[Lost] = []
    for encoder in encoders.values():
        encoder.to(device).eval()
    with Progress(console=console, transient=True) as progress, torch.inference_mode():
        task = progress.add_task(f"features of {len(encoders)} encoders", total=num_videos)
        for batch, failures in loader:
            lost += [Lost(int(f.row), str(f.path), str(f.reason)) for f in failures]
            if batch is not None:
                rows.append(batch.row.cpu())
                pixels = batch.views[VIEW]
                for name, encoder in encoders.items():
                    parts[name].append(encode(encoder, pixels, cards[name], device=device))
            progress.advance(task, len(failures) + (0 if batch is None else len(batch.row)))
    return _collect(rows, parts, lost)


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
    scaled = clips.float() / 255
    if card.color == "bgr":
        scaled = scaled.flip(2)
    shape = (1, 1, 3, 1, 1)
    mean, std = (torch.tensor(values, device=clips.device).view(shape) for values in (card.mean, card.std))
    return (scaled - mean) / std


def _collect(rows: Sequence[Tensor], parts: Mapping[str, list[Tensor]], lost: list[Lost]) -> Features:
    if not rows:
        raise UserError(f"{len(lost)} videos", "none could be read", "See vssl data check MANIFEST")
    every = torch.cat(list(rows)).numpy().astype(np.int64)
    order = np.argsort(every, kind="stable")
    values = {name: torch.cat(part).numpy()[order] for name, part in parts.items()}
    for name, table in values.items():
        if bad := int((~np.isfinite(table)).any(axis=1).sum()):
            raise UserError(
                name, f"features of {bad} of {len(table)} videos are not finite", "Take an earlier checkpoint"
            )
    return Features(every[order], values, sorted(lost))
