"""Pure losses: tensors in, a scalar out; no state, no collectives."""

from vssl.losses.contrastive import info_nce, shot_prediction
from vssl.losses.pretext import clip_order, pace, rotate_four, rotation, rotation_labels, segment
from vssl.losses.regression import constant_regression, cosine_regression
from vssl.losses.similarity import anchor_log_probs, entropy_share, similarity_kl
from vssl.losses.speed import appearance, relative_speed
from vssl.losses.triplet import batch_hard_soft_triplet, semihard_triplet

__all__ = [
    "anchor_log_probs",
    "appearance",
    "batch_hard_soft_triplet",
    "clip_order",
    "constant_regression",
    "cosine_regression",
    "entropy_share",
    "info_nce",
    "pace",
    "relative_speed",
    "rotate_four",
    "rotation",
    "rotation_labels",
    "segment",
    "semihard_triplet",
    "shot_prediction",
    "similarity_kl",
]
