"""Losses of classification pretexts."""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional as F


def pace(logits: Float[Tensor, "n r"], labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """VSPP and VideoPace: cross-entropy over the R paces; log R at chance."""
    return F.cross_entropy(logits, labels)


def segment(logits: Float[Tensor, "n s"], labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """VSPP: cross-entropy over the S segments of a clip, one of which runs at another pace; log S at chance.

    With the natural pace among R of them the segment is undecidable for 1 / R of the clips: then the floor is
    log(S) / R and the accuracy cannot exceed 1 - (1 - 1 / S) / R.
    """
    return F.cross_entropy(logits, labels)


def clip_order(logits: Float[Tensor, "n o"], labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """VCOP: cross-entropy over the orders of V clips, o = V!; log(V!) at chance."""
    return F.cross_entropy(logits, labels)


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
