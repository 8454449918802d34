"""Pure losses: tensors in, a scalar out; no state, no collectives."""

from vssl.losses.contrastive import info_nce, shot_prediction
from vssl.losses.pretext import rotate_four, rotation, rotation_labels, segment_pace
from vssl.losses.triplet import batch_hard_soft_triplet, semihard_triplet

__all__ = [
    "batch_hard_soft_triplet",
    "info_nce",
    "rotate_four",
    "rotation",
    "rotation_labels",
    "segment_pace",
    "semihard_triplet",
    "shot_prediction",
]
