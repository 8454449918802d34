"""From a plan to numbers: boxes, flips and colours of every row of every view of one sample."""

from typing import NamedTuple

import torch
from torch import Tensor

from vssl.seeds import seeded
from vssl.types import Key, VideoMeta
from vssl.views.augment import autoaugment, cut, draw_autoaugment, draw_geometry, draw_photometry
from vssl.views.plan import Plan, View


class Drawn(NamedTuple):
    """What was drawn for one view."""

    boxes: list[Tensor]
    """Per row (T or 1, 4), shares of the frame."""
    flips: list[Tensor]
    """Per row (T or 1,) bool."""
    photometry: dict[str, Tensor]
    policies: list[Tensor]
    """Per row (T, 1 or 0,) seeds of AutoAugment."""


def draw(views: dict[str, View], plan: Plan, meta: VideoMeta, *, seed: int, key: Key) -> dict[str, Drawn]:
    """Draw every view. Every (seed, key, view, row) has its own generators: one more view shifts no other.

    A view that is `like` another takes over that view's boxes and flips and has no photometry and no AutoAugment.
    """
    at = (seed, key.epoch, key.row, key.copy)
    drawn: dict[str, Drawn] = {}
    for name, view in views.items():
        if view.like is not None:
            continue
        rows, num_frames = plan.views[name].shape
        geometry = [
            draw_geometry(
                view.augment[v % len(view.augment)],
                height=meta.height,
                width=meta.width,
                size=view.size,
                num_frames=num_frames,
                rng=seeded(*at, "geometry", name, v),
            )
            for v in range(rows)
        ]
        rngs = [seeded(*at, "photometry", name, v) for v in range(rows)]
        colors = draw_photometry(view.augment, num_frames, rngs)
        policies = [
            draw_autoaugment(view.augment[v % len(view.augment)], num_frames, seeded(*at, "autoaugment", name, v))
            for v in range(rows)
        ]
        drawn[name] = Drawn([boxes for boxes, _ in geometry], [flips for _, flips in geometry], colors, policies)
    for name, view in views.items():
        if view.like is not None:
            source, rows = drawn[view.like], plan.views[name].shape[0]
            picks = [v * len(source.boxes) // rows for v in range(rows)]
            none = [torch.zeros(0).long()] * rows
            drawn[name] = Drawn([source.boxes[i] for i in picks], [source.flips[i] for i in picks], {}, none)
    return drawn


def crop(frames: Tensor, where: Tensor, view: View, drawn: Drawn) -> list[Tensor]:
    """Cut the V rows of a view: `frames` (n, 3, h, w) uint8, `where` (V, T) rows of it; V times (T, 3, S, S) uint8."""
    return [
        autoaugment(
            cut(frames, where[v], boxes, flips, view.size, view.augment[v % len(view.augment)].interpolation), seeds
        )
        for v, (boxes, flips, seeds) in enumerate(zip(drawn.boxes, drawn.flips, drawn.policies, strict=True))
    ]
