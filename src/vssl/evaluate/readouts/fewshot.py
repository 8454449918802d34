"""A linear head trained on a few videos per class, drawn several times."""

import numpy as np
import torch

from vssl.evaluate.linear import Grid, fit
from vssl.evaluate.protocol import Protocol
from vssl.evaluate.readouts.base import Answer, Part, percent
from vssl.seeds import seeded


def fewshot(settings: Protocol, train: Part, test: Part, *, classes: list[str], device: str) -> Answer:
    """Mean top-1 over the draws, per number of shots; every draw of the smallest number is on record.

    The settings are fixed: a handful of videos leaves nothing to choose on.
    """
    grid = Grid(
        (settings["optimisation.lr"],),
        (settings["optimisation.weight_decay"],),
        settings["optimisation.steps"],
        settings["optimisation.batch"],
    )
    metrics, kept, each = {}, [], {}
    shots = settings["fewshot.shots"]
    for number in shots:
        predictions = []
        for seed in range(settings["fewshot.draws"]):
            few = draw(train.labels, number, seed=seed)
            (head,) = fit(train.features[few], train.labels[few], len(classes), grid=grid, device=device)
            predictions.append(head.predict(test.features))
        each[f"{number}-shot"] = [percent(predicted, test.labels) for predicted in predictions]
        metrics[f"{number}-shot"] = float(np.mean(each[f"{number}-shot"]))
        kept = kept or predictions
    return Answer(
        metrics,
        np.tile(test.rows, len(kept)),
        np.concatenate(kept),
        np.tile(test.labels, len(kept)),
        classes,
        {"draws": each},
    )


def draw(labels: np.ndarray, shots: int, *, seed: int) -> np.ndarray:
    """Places of `shots` videos of each class, or all where there are fewer, ascending; a larger number adds to them."""
    found = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        order = torch.randperm(len(own), generator=seeded("fewshot", seed, int(label))).numpy()
        found.append(own[order[:shots]])
    return np.sort(np.concatenate(found))
