"""RSPNet's two tasks (Chen et al., AAAI 2021; auxskd.md 3.3)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def relative_speed(
    query: Float[Tensor, "b d"],
    same: Float[Tensor, "b d"],
    other: Float[Tensor, "b d"],
    *,
    temperature: float = 0.07,
    margin: float = 2.0,
) -> Float[Tensor, ""]:
    """Motion: a clip at the query's speed is nearer than the same clip at the other speed.

        loss = mean_i max(0, m - (q_i k_i - q_i k'_i) / t),   q, k and k' unit length

    Args:
        query: q.
        same: k, another clip of the video at the query's speed.
        other: k', that clip at the other speed.
        temperature: t > 0.
        margin: m.
    """
    query, same, other = (F.normalize(x, dim=-1) for x in (query, same, other))
    return (margin - (query * (same - other)).sum(-1) / temperature).relu().mean()


def appearance(
    query: Float[Tensor, "b d"],
    same: Float[Tensor, "b d"],
    other: Float[Tensor, "b d"],
    bank: Float[Tensor, "k d"],
    *,
    temperature: float = 0.07,
) -> Float[Tensor, ""]:
    """Appearance: clips of one video belong together at either speed, against keys of other videos.

        loss = nce(k) + nce(k'),   nce(x) = mean_i -log( e(x_i) / (e(x_i) + sum_n e(b_n)) ),   e(x) = exp(q_i x / t)

    Args:
        query: q, made unit length, as `same` and `other` are.
        same: k.
        other: k'.
        bank: b, negatives, used as they are; without the keys of this batch.
        temperature: t > 0.
    """
    query = F.normalize(query, dim=-1)
    negatives = query @ bank.T
    own = torch.zeros(len(query), dtype=torch.int64, device=query.device)
    loss = query.new_zeros(())
    for key in (same, other):
        positive = (query * F.normalize(key, dim=-1)).sum(-1, keepdim=True)
        loss = loss + F.cross_entropy(torch.cat([positive, negatives], dim=1) / temperature, own)
    return loss
