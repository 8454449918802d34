"""Triplet losses with mining inside the batch: VIVI-Ex, whose identity is the shot."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F


def semihard_triplet(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    margin: float,
    exclude: Bool[Tensor, "n n"] | None = None,
) -> Float[Tensor, ""]:
    """Triplet loss with semi-hard negatives (FaceNet; TensorFlow's `triplet_semihard_loss`).

        D_ab = |z_a - z_b|^2, z unit length
        n(a, p) = min { D_an : n negative, D_an > D_ap }, or max { D_an : n negative } where there is none
        loss = mean over ordered positive pairs (a, p), a != p, of max(0, margin + D_ap - n(a, p))

    Args:
        embeddings: One row per image, of any length; the caller gathers them over ranks.
        labels: Identity of each row.
        margin: m.
        exclude: Pairs that are no negatives although their labels differ. An anchor without a negative is left out.
    """
    distance = squared_distances(F.normalize(embeddings, dim=-1))
    positive, negative = _pairs(labels, exclude)
    # every row's negatives in rising order, the rest behind them
    ordered = distance.masked_fill(~negative, torch.inf).sort(dim=-1).values
    count = negative.sum(-1, keepdim=True)
    first_beyond = torch.searchsorted(ordered.detach(), distance.detach(), right=True)
    chosen = ordered.gather(1, torch.minimum(first_beyond, count - 1).clamp_min(0))
    pairs = positive & (count > 0)
    return (margin + distance - chosen)[pairs].relu().sum() / pairs.sum().clamp_min(1)


def batch_hard_soft_triplet(
    embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"], exclude: Bool[Tensor, "n n"] | None = None
) -> Float[Tensor, ""]:
    """Hardest positive against hardest negative with a soft margin (the S4L code).

        loss = mean_a softplus( max_p d_ap - min_n d_an ),   d = sqrt(max(|z_a - z_b|^2, 1e-12)), z unit length

    Args:
        embeddings: One row per image, of any length; the caller gathers them over ranks.
        labels: Identity of each row.
        exclude: Pairs that are no negatives although their labels differ. An anchor without a negative is left out.
    """
    distance = squared_distances(F.normalize(embeddings, dim=-1)).clamp_min(1e-12).sqrt()
    _, negative = _pairs(labels, exclude)
    same = labels[:, None] == labels
    hardest = distance.masked_fill(~same, -torch.inf).amax(-1)
    nearest = distance.masked_fill(~negative, torch.inf).amin(-1)
    anchors = negative.any(-1)
    return F.softplus(hardest - nearest)[anchors].sum() / anchors.sum().clamp_min(1)


def squared_distances(z: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    """|z_a - z_b|^2 of all pairs, never below 0; in full precision, for it is a small difference of large numbers."""
    with torch.autocast(z.device.type, enabled=False):
        square = z.square().sum(-1)
        return (square[:, None] - 2 * z @ z.T + square).clamp_min(0)


def _pairs(labels: Tensor, exclude: Tensor | None) -> tuple[Tensor, Tensor]:
    """Positive pairs (a, p), a != p, and negative pairs (a, n)."""
    same = labels[:, None] == labels
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return positive, ~same if exclude is None else ~same & ~exclude
