"""Regression losses."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def cosine_regression(prediction: Float[Tensor, "n d"], target: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Squared distance of unit vectors (BYOL; iBoot, iboot.md 2).

        loss = mean_i | p_i / |p_i| - t_i / |t_i| |^2 = mean_i (2 - 2 cos(p_i, t_i)),   in [0, 4]

    Args:
        prediction: Rows of any length but 0.
        target: Rows of any length but 0; gradient flows to them too unless they are detached.
    """
    return (2 - 2 * F.cosine_similarity(prediction, target, dim=-1)).mean()


def constant_regression(target: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """The lowest `cosine_regression` that one constant prediction reaches: 2 - 2 |mean of the unit targets|.

    A loss that does not fall below it has learnt nothing but the targets' common direction.
    """
    return 2 - 2 * torch.linalg.vector_norm(F.normalize(target, dim=-1).mean(0))
