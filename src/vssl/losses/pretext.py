"""Losses of classification pretexts."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


def segment_pace(
    pace_logits: Float[Tensor, "n r"],
    segment_logits: Float[Tensor, "n s"],
    pace: Int[Tensor, " n"],
    segment: Int[Tensor, " n"],
) -> Float[Tensor, ""]:
    """VSPP: cross-entropy of the pace plus cross-entropy of the segment that runs at it, weights 1 and 1.

    With the natural pace among the classes the segment is undecidable for 1 / R of the clips: the segment term's floor
    is log(S) / R and its accuracy cannot exceed 1 - (1 - 1 / S) / R.
    """
    return F.cross_entropy(pace_logits, pace) + F.cross_entropy(segment_logits, segment)
