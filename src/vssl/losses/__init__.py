"""Pure losses: tensors in, a scalar out; no state, no collectives."""

from vssl.losses.contrastive import info_nce
from vssl.losses.pretext import segment_pace

__all__ = ["info_nce", "segment_pace"]
