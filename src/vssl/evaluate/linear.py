"""Linear heads on fixed features: many settings trained in parallel in one pass.

n videos, D feature width, C classes, S settings (learning rate, weight decay).
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vssl.seeds import seeded

MOMENTUM = 0.9
DAMPING = 0.1
"""Share of the mean variance added to every direction's curvature: noise directions are not blown up."""


class Grid(NamedTuple):
    """Settings that are trained together, and for how long."""

    lr: tuple[float, ...]
    """(S,) first step, relative to the curvature bound of each direction; falls to 0 as a cosine."""
    weight_decay: tuple[float, ...]
    """(S,) of the objective mean cross-entropy + weight_decay / 2 * |weight|^2; the bias is free."""
    steps: int = 400
    batch: int = 512
    """Videos per step, at most those there are."""


class Head(NamedTuple):
    """A trained linear classifier with the standardisation that goes before it."""

    weight: Float[np.ndarray, "d c"]
    bias: Float[np.ndarray, " c"]
    mean: Float[np.ndarray, " d"]
    std: Float[np.ndarray, " d"]

    def logits(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
        """(features - mean) / std @ weight + bias, in float64."""
        wide = (features.astype(np.float64) - self.mean) / self.std
        return wide @ self.weight.astype(np.float64) + self.bias

    def predict(self, features: Float[np.ndarray, "n d"]) -> Int[np.ndarray, " n"]:
        """Class of the largest logit, the lowest of equal ones."""
        return self.logits(features).argmax(axis=1)


def product(lr: list[float], weight_decay: list[float], *, steps: int, batch: int) -> Grid:
    """Every learning rate with every weight decay."""
    pairs = [(a, b) for a in lr for b in weight_decay]
    return Grid(tuple(a for a, _ in pairs), tuple(b for _, b in pairs), steps, batch)


def fit(
    features: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    num_classes: int,
    *,
    grid: Grid,
    device: str = "cpu",
) -> list[Head]:
    """One head per setting, all trained on the same batches by one product per step.

    Softmax regression by SGD with Nesterov momentum. Features are standardised and turned into their principal axes
    (the penalty does not notice a rotation); there every direction has its own step, lr over Boehning's bound
    (1992) 1/2 variance + weight_decay on its curvature, so ill-conditioned features need no more steps. Features
    without any variance keep a standard deviation of 1. A fixed seed draws the batches: the same input gives the same
    heads on the same machine.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    std = features.std(axis=0, dtype=np.float64)
    std = np.where(std > 1e-6 * max(1e-6, float(std.max(initial=0.0))), std, 1.0)
    scaled = torch.from_numpy(((features - mean) / std).astype(np.float32)).to(device)
    variance, axes = torch.linalg.eigh(scaled.T.double() @ scaled.double() / len(scaled))
    axes = axes.float()
    turned = _train(
        scaled @ axes,
        torch.from_numpy(labels.astype(np.int64)).to(device),
        num_classes,
        variance=variance.clamp_min(0).float(),
        grid=grid,
    )
    weights = torch.einsum("de,esc->sdc", axes, turned[0]).cpu().numpy()
    biases = turned[1].cpu().numpy()
    return [Head(w, b, mean.astype(np.float32), std.astype(np.float32)) for w, b in zip(weights, biases, strict=True)]


@torch.no_grad()
def _train(
    x: Float[Tensor, "n d"], y: Int[Tensor, " n"], num_classes: int, *, variance: Float[Tensor, " d"], grid: Grid
) -> tuple[Float[Tensor, "d s c"], Float[Tensor, "s c"]]:
    """Gradients by hand: one matrix product forward and one back serve all settings."""
    num, width, settings = len(x), x.shape[1], len(grid.lr)
    lr, decay = (torch.tensor(values, device=x.device) for values in (grid.lr, grid.weight_decay))
    curvature = variance[:, None] / 2 + decay + DAMPING * variance.mean() + torch.finfo(torch.float32).tiny
    scale = (1 / curvature)[:, :, None]
    weight = torch.zeros(width, settings, num_classes, device=x.device)
    bias = torch.zeros(settings, num_classes, device=x.device)
    speed, bias_speed = torch.zeros_like(weight), torch.zeros_like(bias)
    target = torch.eye(num_classes, device=x.device)
    rng, order = seeded("linear"), torch.empty(0, dtype=torch.int64)
    batch = min(grid.batch, num)
    for step in range(grid.steps):
        if len(order) < batch:
            order = torch.cat([order, torch.randperm(num, generator=rng)])
        rows, order = order[:batch].to(x.device), order[batch:]
        given = x[rows]
        error = (given @ weight.view(width, -1)).view(batch, settings, num_classes).add_(bias).softmax(-1)
        error.sub_(target[y[rows]][:, None]).div_(batch)
        slope = (given.T @ error.view(batch, -1)).view_as(weight).addcmul_(decay[:, None], weight)
        bias_slope = error.sum(0)
        now = lr * (1 + math.cos(math.pi * step / grid.steps)) / 2
        speed.mul_(MOMENTUM).add_(slope)
        weight.sub_(slope.add_(speed, alpha=MOMENTUM).mul_(scale).mul_(now[:, None]))
        bias_speed.mul_(MOMENTUM).add_(bias_slope)
        bias.sub_(2 * now[:, None] * bias_slope.add(bias_speed, alpha=MOMENTUM))  # its curvature is at most 1/2
    return weight, bias


def cross_entropy(head: Head, features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]) -> float:
    """Mean over videos, in nats."""
    logits = head.logits(features)
    top = logits.max(axis=1, keepdims=True)
    normaliser = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
    return float((normaliser - logits[np.arange(len(labels)), labels]).mean())


def held_out(labels: Int[np.ndarray, " n"], groups: Int[np.ndarray, " n"], *, share: float) -> Bool[np.ndarray, " n"]:
    """Which videos to validate on: of every class with two or more source groups about this share of them, whole.

    A group counts for the class of its first video. The draw is fixed; it depends on the groups alone.
    """
    unique, first = np.unique(groups, return_index=True)
    owner = labels[first]
    chosen: list[np.ndarray] = []
    for label in np.unique(owner):
        own = unique[owner == label]
        if len(own) > 1:
            order = torch.randperm(len(own), generator=seeded("validation", int(label))).numpy()
            chosen.append(own[order[: max(1, round(share * len(own)))]])
    return np.isin(groups, np.concatenate(chosen)) if chosen else np.zeros(len(groups), dtype=bool)
