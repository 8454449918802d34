"""Encoders without a network: what the simplest statistics of pixels achieve stands in every table.

Both see pixels in 0..1 (their cards have mean 0 and standard deviation 1) and have no parameters. Their features are
read like any other's, by cosine similarity.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from vssl.backbones.base import Backbone, Input
from vssl.backbones.parts import deepest, whole

_ZERO, _ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
_FLOOR = 1e-4  # a difference far below one grey level (1/255) of one pixel in ten


class PixelHistogram(Backbone):
    """Cube root of the share of pixels in each of `bins` equal bins of 0..1, per colour channel: D = 3 * bins.

    A map is that of every frame, (N, D, T, 1, 1); a clip's feature is the mean over its frames. The root is there for
    the cosine, which the few bins of the background would fill alone: on the toy world with constant nuisance the
    colour of the object reads out at about 86 % (chance 12.5 %), without the root at 27 %, with a square root at 65 %.

    Args:
        bins: Bins per channel.
        size: Side of the crop it wants.
    """

    def __init__(self, bins: int = 8, *, size: int = 112) -> None:
        super().__init__()
        self.bins, self.size = whole(bins, "bins"), whole(size, "size")
        self.dim = 3 * bins
        self.map_dims = (self.dim,)
        self.input = Input(size, mean=_ZERO, std=_ONE)

    def maps(self, x: Float[Tensor, "n t 3 h w"], last: int = 1) -> tuple[Tensor, ...]:
        """One map, of every frame: (N, 3 * bins, T, 1, 1)."""
        rows, frames, channels, height, width = x.shape
        bin_of = (x * self.bins).long().clamp(0, self.bins - 1).flatten(3).flatten(0, 2)  # (N*T*3, H*W)
        first = torch.arange(len(bin_of), device=x.device)[:, None] * self.bins
        counts = torch.bincount((bin_of + first).flatten(), minlength=len(bin_of) * self.bins)
        shares = counts.view(rows, frames, channels * self.bins).to(x.dtype) / (height * width)
        return deepest([shares.pow(1 / 3).transpose(1, 2)[..., None, None]], last)


class FrameDifference(Backbone):
    """Three statistics of frame differences, each as soft membership of `bins` bins of its logarithm: D = 3 * bins.

    The statistics of a clip x (T frames, pixels in 0..1), d_k = x[t + k] - x[t]: mean |d_1| (how much changes), root
    mean square of d_1 (how abruptly), mean |d_2| (whether change goes on). As raw numbers they would be useless to a
    cosine: three positive numbers point nearly one way. So statistic s fills bins exp(-((log s - c_j) / w)^2 / 2),
    whose centres c_j lie evenly between log 1e-4 and log 1, w apart: near values share bins, far ones share none.
    A clip of one frame has no difference and falls into the lowest bins; with two frames d_2 is d_1.

    Args:
        bins: Bins per statistic.
        size: Side of the crop it wants.
        frames: Frames per clip.
        stride: Source frames from one frame of the clip to the next.
    """

    centres: Tensor

    def __init__(self, bins: int = 32, *, size: int = 112, frames: int = 16, stride: int = 1) -> None:
        super().__init__()
        self.bins, self.size = whole(bins, "bins"), whole(size, "size")
        self.frames, self.stride = whole(frames, "frames"), whole(stride, "stride")
        self.dim = 3 * bins
        self.map_dims = (self.dim,)
        self.input = Input(size, frames, stride, mean=_ZERO, std=_ONE)
        floor = float(torch.tensor(_FLOOR).log())
        self.register_buffer("centres", torch.linspace(floor, 0.0, bins), persistent=False)

    def maps(self, x: Float[Tensor, "n t 3 h w"], last: int = 1) -> tuple[Tensor, ...]:
        """One map, the clip's: (N, 3 * bins, 1, 1, 1)."""
        near, far = _differences(x, 1), _differences(x, 2)
        statistics = torch.stack([near.abs().mean(1), near.square().mean(1).sqrt(), far.abs().mean(1)], dim=1)  # (N, 3)
        width = (self.centres[-1] - self.centres[0]) / max(self.bins - 1, 1)
        offset = (statistics.clamp(_FLOOR, 1).log()[..., None] - self.centres) / width
        return deepest([torch.exp(-0.5 * offset.square()).flatten(1)[..., None, None, None]], last)


def _differences(x: Float[Tensor, "n t 3 h w"], lag: int) -> Float[Tensor, "n p"]:
    """All differences over `lag` frames, one row per clip; over the longest lag there is where the clip is shorter."""
    lag = min(lag, x.shape[1] - 1)
    return (x[:, lag:] - x[:, : x.shape[1] - lag]).flatten(1)
