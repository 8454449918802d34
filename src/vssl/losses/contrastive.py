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


def shot_prediction(scores: Float[Tensor, "b n"], positive: Int[Tensor, " b"] | None = None) -> Float[Tensor, ""]:
    """Cross-entropy of each context over the candidate targets (VIVI's video level, InfoNCE).

        loss = mean_i -log( exp G_i,pos(i) / sum_j exp G_ij ) = log N + (the 1/N-normalised form of the paper)

    No temperature and no normalisation: the critic's scores enter as they are.

    Args:
        scores: G, rows are contexts, columns are candidate targets; -inf where a column is no candidate.
        positive: Column of each row's own target; None: the diagonal.
    """
    if positive is None:
        positive = torch.arange(len(scores), device=scores.device)
    return F.cross_entropy(scores, positive)
