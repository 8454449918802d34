"""A linear head on frozen features, its settings chosen on source groups held out of the train list."""

from typing import Any

import numpy as np

from vssl.errors import UserError
from vssl.evaluate.linear import Grid, Head, cross_entropy, fit, held_out, product
from vssl.evaluate.protocol import Protocol
from vssl.evaluate.readouts.base import Answer, Part, percent


def linear(settings: Protocol, train: Part, test: Part, *, classes: list[str], device: str) -> Answer:
    """Top-1 of the head whose learning rate and weight decay won on the held-out groups."""
    head, details = chosen(
        settings, train.features, train.labels, train.groups, num_classes=len(classes), device=device
    )
    predicted = head.predict(test.features)
    metrics = {"top1": percent(predicted, test.labels)}
    return Answer(metrics, test.rows, predicted, test.labels, classes, details, dict(head._asdict()))


def chosen(
    settings: Protocol, features: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, num_classes: int, device: str
) -> tuple[Head, dict[str, Any]]:
    """The head of the winning setting, fitted again on all given videos, and the record of the choice.

    The winner has the most right answers on the held-out groups; of equal ones the lowest cross-entropy there.

    Raises:
        UserError: no class has two source groups, so none can be held out.
    """
    grid = product(
        settings["optimisation.lr"],
        settings["optimisation.weight_decay"],
        steps=settings["optimisation.steps"],
        batch=settings["optimisation.batch"],
    )
    aside = held_out(labels, groups, share=settings["splits.validation_share"])
    if not aside.any():
        rule = "needs a class with two source groups in the train list, to hold one out"
        raise UserError(settings.name, rule, "Choose another --label or another --protocol")
    heads = fit(features[~aside], labels[~aside], num_classes, grid=grid, device=device)
    scores = [_score(head, features[aside], labels[aside]) for head in heads]
    best = max(range(len(heads)), key=lambda s: (scores[s][0], -scores[s][1]))
    alone = Grid((grid.lr[best],), (grid.weight_decay[best],), grid.steps, grid.batch)
    (head,) = fit(features, labels, num_classes, grid=alone, device=device)
    details = {
        "lr": grid.lr[best],
        "weight_decay": grid.weight_decay[best],
        "num_validation": int(aside.sum()),
        "validation": [
            {"lr": lr, "weight_decay": decay, "top1": top1}
            for lr, decay, (top1, _) in zip(grid.lr, grid.weight_decay, scores, strict=True)
        ],
    }
    return head, details


def _score(head: Head, features: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    if not np.isfinite(head.weight).all():  # this setting diverged: it cannot win
        return -1.0, np.inf
    return percent(head.predict(features), labels), cross_entropy(head, features, labels)
