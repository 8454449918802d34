"""Contrastive losses."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F


def info_nce(
    query: Float[Tensor, "b d"],
    keys: Float[Tensor, "n d"],
    positive: Int[Tensor, " b"],
    temperature: float,
    exclude: Bool[Tensor, "b n"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of each query over all its keys (VITO, section 3.1).

        loss = mean_i -log( exp(q_i k_pos(i) / t) / sum_{j not excluded} exp(q_i k_j / t) ),   q and k unit length

    Args:
        query: One row per sample.
        keys: Candidates, the positives among them; the caller gathers them over ranks.
        positive: Index of each query's own key.
        temperature: t > 0.
        exclude: Keys that are neither positive nor negative for a query (other views of the same video).
    """
    query, keys = F.normalize(query, dim=-1), F.normalize(keys, dim=-1)
    logits = query @ keys.T / temperature
    if exclude is not None:
        logits = logits.masked_fill(exclude, -torch.inf)
    return F.cross_entropy(logits, positive)
