"""Pure losses: tensors in, a scalar out; no state, no collectives."""

from vssl.losses.contrastive import info_nce, shot_prediction
from vssl.losses.pretext import rotate_four, rotation, rotation_labels, segment_pace
from vssl.losses.regression import constant_regression, cosine_regression
from vssl.losses.triplet import batch_hard_soft_triplet, semihard_triplet

__all__ = [
    "batch_hard_soft_triplet",
    "constant_regression",
    "cosine_regression",
    "info_nce",
    "rotate_four",
    "rotation",
    "rotation_labels",
    "segment_pace",
    "semihard_triplet",
    "shot_prediction",
]
