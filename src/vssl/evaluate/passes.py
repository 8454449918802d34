"""Which features are missing, and the fewest decoding passes that give them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from rich.console import Console

from vssl.data.dataset import evaluation_loader
from vssl.data.manifest import Manifest
from vssl.distributed import barrier, from_first, rank, shared_mistakes, world_size
from vssl.errors import UserError
from vssl.evaluate import controls
from vssl.evaluate.cache import Cache
from vssl.evaluate.encoder import Encoder
from vssl.evaluate.features import VIEW, Column, Order, recipe, stream
from vssl.evaluate.protocol import Protocol, pace
from vssl.evaluate.result import RANDOM
from vssl.evaluate.score import splits_of
from vssl.views.augment import Augment
from vssl.views.plan import Recipe, ViewSampler


@dataclass(frozen=True)
class Settings:
    """How to compute; nothing here changes a score."""

    num_workers: int = 0
    batch_size: int = 8
    reader: Literal["auto", "pyav", "torchcodec"] = "auto"
    device: str = "cpu"
    force: bool = False
    """Compute again what exists."""
    trainer: Mapping[str, Any] = field(default_factory=dict)
    """How Lightning's Trainer runs: accelerator, devices, strategy; of protocols that train on clips precision, too."""
    console: Console | None = None


class Need(NamedTuple):
    """Features that some score wants."""

    encoder: Encoder
    protocol: Protocol
    rows: np.ndarray
    """Rows of the manifest."""


class View(NamedTuple):
    """What is decoded, and for which input: needs with the same view share a pass."""

    sampler: ViewSampler
    augment: tuple[Augment, ...]
    size: int
    card: tuple[int, int, int]
    """Size, frames and stride of the encoders."""


@dataclass
class Pass:
    """One pass over the videos."""

    protocol: Protocol
    recipe: Recipe
    columns: dict[str, Column] = field(default_factory=dict)
    random: dict[str, Encoder] = field(default_factory=dict)
    rows: list[np.ndarray] = field(default_factory=list)


def fill(needs: list[Need], cache: Cache, *, manifest: Manifest, settings: Settings) -> None:
    """Compute what the cache lacks; every video is decoded once per view, for all encoders and splits together.

    Processes share the videos out; afterwards each finds all features on disk.

    Raises:
        UserError: an encoder yields features that are not finite, or several processes share no disk cache.
    """
    if world_size() > 1 and any(need.encoder.features is None for need in needs):
        raise UserError("--no-cache", f"{world_size()} processes hand features over on disk", "Name --cache DIR")
    plan = _plan(needs, cache, manifest=manifest, settings=settings)
    # one look for all: another command may fill the same cache, and every row must be in some process's share
    lacking = from_first([_lacking(found, cache) for found in plan.values()] if rank() == 0 else [])
    barrier()  # nobody forgets anything (`force`) any more
    with shared_mistakes():
        for found, missing in zip(plan.values(), lacking, strict=True):
            if missing:
                _compute(found, missing, cache, manifest=manifest, settings=settings)


def _compute(
    found: Pass, missing: dict[str, np.ndarray], cache: Cache, *, manifest: Manifest, settings: Settings
) -> None:
    """This process's share of a pass."""
    columns = {name: found.columns[name] for name in missing}
    rows = np.unique(np.concatenate(list(missing.values())))[rank() :: world_size()]
    _calibrate(found, set(columns), manifest=manifest, settings=settings)
    loader = _loader(manifest, rows, found.recipe, settings=settings, batch_size=settings.batch_size)
    parts = stream(columns, loader=loader, num_videos=len(rows), device=settings.device, console=settings.console)
    for part in parts:
        for name, features in part.items():
            cache.add(name, features)


def _lacking(found: Pass, cache: Cache) -> dict[str, np.ndarray]:
    """Per column that is not whole, the rows that it lacks."""
    rows = np.unique(np.concatenate(found.rows))
    missing = {name: np.setdiff1d(rows, cache.rows(name)) for name in found.columns}
    return {name: lacks for name, lacks in missing.items() if len(lacks)}


def _plan(needs: list[Need], cache: Cache, *, manifest: Manifest, settings: Settings) -> dict[View, Pass]:
    passes: dict[View, Pass] = {}
    for encoder, protocol, rows in needs:
        card = encoder.card
        for variant in protocol.variants:
            speed = pace(variant) if card.frames > 1 else 1
            wanted = recipe(protocol, card, pace=speed)
            pixels = wanted.views[VIEW]  # without mean and std: every encoder's own are applied to the shared pixels
            view = View(wanted.sampler, pixels.augment, pixels.size, (card.size, card.frames, card.stride))
            name = encoder.column(protocol, variant, manifest=manifest.content_hash)
            cache.open(name, encoder.features, fresh=settings.force)
            found = passes.setdefault(view, Pass(protocol, wanted))
            found.columns[name] = Column(encoder.backbone, card, _order(variant))
            found.rows.append(rows)
            if encoder.kind == RANDOM:
                found.random[name] = encoder
    return passes


def _order(variant: str) -> Order:
    return next((order for order in get_args(Order) if order == variant), "normal")


def _calibrate(found: Pass, names: set[str], *, manifest: Manifest, settings: Settings) -> None:
    """Set the batch-norm statistics of the random networks."""
    calibrate([e for name, e in found.random.items() if name in names], found.protocol, manifest, settings)


def calibrate(encoders: list[Encoder], protocol: Protocol, manifest: Manifest, settings: Settings) -> None:
    """Set the batch-norm statistics of random networks with the same input."""
    random = {id(encoder.backbone): (encoder.backbone, encoder.card) for encoder in encoders}
    if not random:
        return
    # of the first split whatever is scored, so that a control's score does not depend on what else is asked for
    rows = controls.calibration_rows(manifest.rows(splits_of(manifest)[0], "train"))
    wanted = recipe(protocol, next(iter(random.values()))[1], clips=1)
    loader = _loader(manifest, rows, wanted, settings=settings, batch_size=controls.CALIBRATION_VIDEOS)
    controls.calibrate(random.values(), loader=loader, device=settings.device)


def _loader(
    manifest: Manifest, rows: np.ndarray, wanted: Recipe, *, settings: Settings, batch_size: int
) -> Iterator[Any]:
    return evaluation_loader(
        manifest,
        rows,
        recipe=wanted,
        reader=settings.reader,
        num_workers=settings.num_workers,
        batch_size=batch_size,
    )
