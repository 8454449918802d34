"""Losses of classification pretexts."""

import torch
from jaxtyping import Float, Int, Shaped
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


def rotate_four(images: Shaped[Tensor, "n *rest s s"]) -> Shaped[Tensor, "m *rest s s"]:
    """Every image at 0, 90, 180 and 270 degrees counter-clockwise, the four copies side by side: m = 4 n.

    As the Revisiting-SSL code has it, for (..., H, W): 0 identity; 1 transpose(flip_W(x)); 2 flip_H(flip_W(x));
    3 flip_W(transpose(x)).
    """
    mirrored, turned = images.flip(-1), images.transpose(-1, -2)
    copies = [images, mirrored.transpose(-1, -2), mirrored.flip(-2), turned.flip(-1)]
    return torch.stack(copies, dim=1).flatten(0, 1)


def rotation_labels(num_images: int, device: torch.device | None = None) -> Int[Tensor, " m"]:
    """The class of every copy that `rotate_four` makes: 0, 1, 2, 3, 0, 1, 2, 3, ..."""
    return torch.arange(4, device=device).repeat(num_images)


def rotation(logits: Float[Tensor, "m 4"]) -> Float[Tensor, ""]:
    """Cross-entropy over the four rotations of images in `rotate_four`'s order, mean over all copies."""
    return F.cross_entropy(logits, rotation_labels(len(logits) // 4, logits.device))
