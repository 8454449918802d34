"""Small residual networks for small worlds: minutes on one processor core, milliseconds in a test."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vssl.backbones.base import Backbone, Input
from vssl.backbones.parts import deepest, unfold_frames, whole
from vssl.errors import UserError

_MEAN = (0.5, 0.5, 0.5)
_STD = (0.25, 0.25, 0.25)
_LAYERS: dict[int, tuple[Callable[..., nn.Module], Callable[..., nn.Module]]] = {
    2: (nn.Conv2d, nn.BatchNorm2d),
    3: (nn.Conv3d, nn.BatchNorm3d),
}


class TinyImage(Backbone):
    """Four stages of one residual block each; by default 16-32-64-128 channels, 307,536 parameters.

    Stem 3x3, stride 2; stages of stride 1, 2, 2, 2: crops of 44 pixels give maps of 22, 11, 6 and 3.

    Args:
        width: Channels of the first stage, doubled from stage to stage; or one width for each of the four.
        size: Side of the crop it wants.
        norm: "group": of up to 8 groups, for co-training, where batch norm would mix images and videos.
    """

    def __init__(
        self, width: int | Sequence[int] = 16, *, size: int = 44, norm: Literal["batch", "group"] = "batch"
    ) -> None:
        super().__init__()
        self.width, self.norm = _widths(width, 4), norm
        self.size = whole(size, "size")
        self.map_dims = tuple(self.width)
        self.dim = self.width[-1]
        self.input = Input(size, mean=_MEAN, std=_STD)
        first, normed = self.width[0], nn.BatchNorm2d if norm == "batch" else _group_norm
        self.stem = nn.Sequential(
            nn.Conv2d(3, first, 3, stride=2, padding=1, bias=False), normed(first), nn.ReLU(inplace=True)
        )
        steps = zip([first, *self.width], self.width, (1, 2, 2, 2), strict=False)
        self.stages = nn.ModuleList(_Block(before, after, (s, s), normed) for before, after, s in steps)
        _initialise(self)

    def maps(self, x: Float[Tensor, "n t 3 h w"], last: int = 1) -> tuple[Tensor, ...]:
        """Feature maps of the last `last` stages, each (N, D_s, T, H_s, W_s): frames are seen one by one."""
        out = self.stem(x.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        maps = []
        for stage in self.stages:
            out = stage(out)
            maps.append(out)
        return tuple(unfold_frames(scale, x.shape[1]) for scale in deepest(maps, last))


class TinyVideo(Backbone):
    """Three stages of one 3-D residual block each; by default 16-32-64 channels, 228,016 parameters.

    Stem 3x5x5, stride (1, 2, 2); stages of spatial stride 1, 2, 2: crops of 44 pixels give maps of 22, 11 and 6.

    Args:
        width: Channels of the first stage, doubled from stage to stage; or one width for each of the three.
        stem: "difference" starts three quarters of the stem's filters as differences between the next and the last
            frame (they train on like the others). Still appearance dominates the variance of an ordinary stem and
            batch normalisation scales motion down: pace prediction then never started in our trials. It also helps
            a network that is not trained: compare only with the same stem.
        light: Without the first stage's block and with temporal stride 2: about twice as fast.
        temporal_stride: Of each of the last two stages; None: 2 if `light`, else 1.
        size: Side of the crop it wants.
        frames: Frames per clip.
        stride: Source frames from one frame of the clip to the next.
    """

    def __init__(
        self,
        width: int | Sequence[int] = 16,
        *,
        stem: Literal["default", "difference"] = "default",
        light: bool = False,
        temporal_stride: int | None = None,
        size: int = 44,
        frames: int = 16,
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.width = _widths(width, 3)
        self.stem, self.light = stem, light
        self.temporal_stride = whole(temporal_stride or (2 if light else 1), "temporal_stride")
        self.size, self.frames, self.stride = whole(size, "size"), whole(frames, "frames"), whole(stride, "stride")
        self.map_dims = tuple(self.width)
        self.dim = self.width[-1]
        self.input = Input(size, frames, stride, mean=_MEAN, std=_STD)
        first, second, third = self.width
        down = (self.temporal_stride, 2, 2)
        conv = nn.Conv3d(3, first, (3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2), bias=False)
        entry = nn.Sequential(conv, nn.BatchNorm3d(first), nn.ReLU(inplace=True))
        block = nn.Identity() if light else _Block(first, first, (1, 1, 1))
        self.stages = nn.ModuleList(
            [nn.Sequential(entry, block), _Block(first, second, down), _Block(second, third, down)]
        )
        _initialise(self)
        if stem == "difference":
            _start_as_differences(conv)

    def maps(self, x: Float[Tensor, "n t 3 h w"], last: int = 1) -> tuple[Tensor, ...]:
        """Feature maps of the last `last` stages, each (N, D_s, T_s, H_s, W_s)."""
        out = x.transpose(1, 2).contiguous(memory_format=torch.channels_last_3d)
        maps = []
        for stage in self.stages:
            out = stage(out)
            maps.append(out)
        return deepest(maps, last)


class _Block(nn.Module):
    """Two 3x3 (3x3x3) convolutions and a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(
        self, before: int, after: int, stride: tuple[int, ...], norm: Callable[[int], nn.Module] | None = None
    ) -> None:
        super().__init__()
        conv, batch_norm = _LAYERS[len(stride)]
        norm = norm or batch_norm
        self.main = nn.Sequential(
            conv(before, after, 3, stride=stride, padding=1, bias=False),
            norm(after),
            nn.ReLU(inplace=True),
            conv(after, after, 3, padding=1, bias=False),
            norm(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if before != after or max(stride) > 1:
            self.shortcut = nn.Sequential(conv(before, after, 1, stride=stride, bias=False), norm(after))

    def forward(self, x: Tensor) -> Tensor:
        return (self.main(x) + self.shortcut(x)).relu()


def _group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(math.gcd(8, channels), channels)


def _widths(width: int | Sequence[int], stages: int) -> list[int]:
    widths = [width << stage for stage in range(stages)] if isinstance(width, int) else list(width)
    if len(widths) != stages or min(widths) < 1:
        raise UserError(f"width={width}", f"needs one positive width, or one for each of the {stages} stages")
    return widths


def _initialise(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


@torch.no_grad()
def _start_as_differences(conv: nn.Conv3d) -> None:
    filters = conv.weight[: conv.out_channels * 3 // 4]  # (filter, colour, time, height, width)
    filters[:, :, 1] = 0
    filters[:, :, 2] = -filters[:, :, 0]
