"""The types every part of vssl shares.

Axes, everywhere: B videos of a batch, V rows (views) of one view name, T frames, C = 3 channels, H W crop size,
h w source size, N = B * V rows seen by a network, D feature width.
"""

from typing import NamedTuple

from torch import Tensor


class VideoMeta(NamedTuple):
    """What a view sampler may know about a video: numbers, no pixels."""

    num_frames: int
    fps: float
    height: int
    width: int
    cuts: tuple[int, ...] | None = None
    """First frame of every shot but the first; None: never searched."""
    row: int = 0
    """Row of the manifest: a sampler that draws once per video, for every epoch alike, seeds itself from it."""


class Key(NamedTuple):
    """One draw from the training set; with the seed it determines the sample completely."""

    epoch: int
    row: int
    copy: int
    """Repeats of one video inside an epoch differ."""
    position: int
    """Place in the epoch's global order."""


class Sample(NamedTuple):
    """One video as a method sees it; the loader stacks B of them into a Batch of the same type."""

    views: dict[str, Tensor]
    """name -> (V, T, C, H, W) uint8, geometry done, photometry not; batched (B, V, T, C, H, W)."""
    params: dict[str, dict[str, Tensor]]
    """name -> drawn photometry, each (V, T or 1, ...); {} where a view has none."""
    targets: dict[str, Tensor]
    """Pretext labels made by the sampler."""
    images: dict[str, Tensor]
    """{} or {"pixels": (I, C, H, W) uint8, "label": (I,)}: labelled images for co-training."""
    label: Tensor
    """() class id of the chosen label column, -1 if unknown. Only monitors and evaluation read it."""
    row: Tensor
    """() row of the manifest."""


Batch = Sample


class StepOutput(NamedTuple):
    """What one training step of a method yields."""

    loss: Tensor
    """() to differentiate."""
    logs: dict[str, Tensor]
    """name -> (), detached."""
    features: Tensor
    """(B, D) detached backbone features; monitors read them."""
