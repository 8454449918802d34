"""What every score is held against: the same network as initialised, and features without a network."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vssl.backbones.base import Backbone, Input
from vssl.backbones.registry import build
from vssl.evaluate.features import VIEW, full_precision, normalise

logger = logging.getLogger(__name__)

CALIBRATION_BATCHES, CALIBRATION_VIDEOS = 6, 32
"""Batches and videos per batch that set the batch-norm statistics of a random initialisation."""


def random_encoders(
    spec: Mapping[str, Any], seeds: Sequence[int], *, trust_imports: bool = False
) -> dict[str, Backbone]:
    """The network of `spec` as initialised from each seed: `random SEED` -> encoder. Leaves the global seed alone."""
    encoders = {}
    for seed in seeds:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoders[random_name(seed)] = build(untrained(spec), trust_imports=trust_imports)
    return encoders


def random_name(seed: int) -> str:
    """How a random initialisation is called in a table."""
    return f"random {seed}"


def frozen_encoders(frozen: Mapping[str, Any], *, trust_imports: bool = False) -> dict[str, Backbone]:
    """Frozen encoders that a checkpoint learnt from, name -> encoder; without those whose weights file is gone."""
    encoders = {}
    for name, spec in frozen.items():
        weights = spec["init_args"].get("weights")
        if weights not in (None, "random") and not Path(weights).is_file():
            logger.warning("%s is left out: %s is not on this machine", name, weights)
            continue
        encoders[name] = build(spec, trust_imports=trust_imports)
    return encoders


def untrained(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec without ready weights: a pretrained network is no random control."""
    arguments = dict(spec["init_args"])
    if arguments.get("pretrained"):
        arguments["pretrained"] = False
    if arguments.get("weights"):
        arguments["weights"] = None
    return {**spec, "init_args": arguments}


def calibrate(encoders: Iterable[tuple[Backbone, Input]], *, loader: Iterable[Any], device: str = "cpu") -> int:
    """Set batch-norm statistics to the plain average over the loader's batches; weights stay. Returns the batches.

    A network of randomly drawn weights whose running statistics are 0 and 1 computes nothing useful, and a method would
    beat it for having seen data at all. Everything but the norms stays in eval mode.
    """
    need = [(encoder, card, found) for encoder, card in encoders if (found := norms(encoder))]
    if not need:
        return 0
    for encoder, _, found in need:
        encoder.to(device).eval()
        for norm in found:
            norm.reset_running_stats()
            norm.momentum = None  # cumulative average
            norm.train()
    num_batches = 0
    with torch.no_grad(), full_precision():
        for batch, _ in loader:
            if batch is None:
                continue
            clips = batch.views[VIEW].flatten(0, 1).to(device)
            # statistics are of the whole batch: it may not be cut as in extraction
            for encoder, card, _ in need:
                encoder(normalise(clips, card))
            num_batches += 1
    for encoder, _, _ in need:
        encoder.eval()
    return num_batches


def norms(encoder: Backbone) -> list[nn.modules.batchnorm._BatchNorm]:
    """Batch norms with running statistics."""
    kinds = nn.modules.batchnorm._BatchNorm
    return [m for m in encoder.modules() if isinstance(m, kinds) and m.track_running_stats]


def calibration_rows(rows: np.ndarray) -> np.ndarray:
    """At most 6 * 32 of the rows, evenly spread; always the same, whatever is evaluated."""
    wanted = min(len(rows), CALIBRATION_BATCHES * CALIBRATION_VIDEOS)
    return rows[np.arange(wanted) * len(rows) // wanted]
