"""Pure losses: tensors in, a scalar out; no state, no collectives."""

from vssl.losses.contrastive import info_nce, shot_prediction
from vssl.losses.pretext import rotate_four, rotation, rotation_labels, segment_pace
from vssl.losses.similarity import anchor_log_probs, entropy_share, similarity_kl
from vssl.losses.triplet import batch_hard_soft_triplet, semihard_triplet

__all__ = [
    "anchor_log_probs",
    "batch_hard_soft_triplet",
    "entropy_share",
    "info_nce",
    "rotate_four",
    "rotation",
    "rotation_labels",
    "segment_pace",
    "semihard_triplet",
    "shot_prediction",
    "similarity_kl",
]
