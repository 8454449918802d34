"""From a video to a plan: which frames, cut how. Plain numbers; no pixels, no global randomness, no I/O."""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from vssl.types import VideoMeta
from vssl.views.augment import Augment

Floats = tuple[float, float, float]


class Plan(NamedTuple):
    """What a sampler decides about one video."""

    views: dict[str, Tensor]
    """name -> (V, T) int64 frame indices, 0-based, all in [0, num_frames)."""
    targets: dict[str, Tensor]
    """Pretext labels decided together with the indices."""


@runtime_checkable
class ViewSampler(Protocol):
    """Chooses frames. Frozen dataclasses of plain numbers implement it."""

    def accepts(self, meta: VideoMeta) -> bool:
        """Whether the video can be used; asked once, refusals are counted and reported."""
        ...

    def __call__(self, meta: VideoMeta, rng: torch.Generator) -> Plan:
        """Draw a plan; the same generator state gives the same plan."""
        ...


class View(NamedTuple):
    """How the frames of one view name become network input."""

    augment: tuple[Augment, ...]
    """Row v uses augment[v % len(augment)]."""
    size: int
    """Side of the square crop, pixels."""
    mean: Floats
    std: Floats
    like: str | None = None
    """Reuse boxes and flips of that view (row v takes row v * V_like // V), cut again from the source frame."""
    counted: bool = True
    """Whether its rows count as clips seen; those of a frozen network do not."""


class Recipe(NamedTuple):
    """All a datamodule must know about a method."""

    sampler: ViewSampler
    views: dict[str, View]
    copies: int = 1
    """How often an epoch lists each video."""
    images: int = 0
    """Labelled images per video for co-training; 0: none."""
    image_view: View | None = None
    """How a labelled image is cut, and whether AutoAugment follows; it has no photometry."""
    image_classes: int = 0
    """Classes that the method's classifier has."""
