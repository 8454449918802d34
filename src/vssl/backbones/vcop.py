"""The 10-layer R(2+1)D and R3D and the C3D of VCOP, RSPNet and auxSKD (auxskd.md 4.1): one block per stage.

They are not torchvision's `r2plus1d_18` and `r3d_18`. Each function returns the modules of five scales, stem first; a
clip of 16x112x112 leaves the last as 512 x 2 x 7 x 7.
"""

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn

_Triple = tuple[int, int, int]
_Conv = Callable[[int, int, _Triple, _Triple], nn.Module]
"""(channels before, after, kernel, stride) -> a padded 3-D convolution without bias."""
_STAGES = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
_C3D = ((3, 64), (64, 128), (128, 256, 256), (256, 512, 512), (512, 512, 512))


def r2plus1d_vcop() -> list[list[nn.Module]]:
    """Every convolution, also a shortcut's, is factored into space and time; 14,365,303 parameters."""
    return _residual(_factored)


def r3d_vcop() -> list[list[nn.Module]]:
    """The same with whole 3-D convolutions; 14,361,792 parameters."""
    return _residual(_whole)


def c3d_bn() -> list[list[nn.Module]]:
    """C3D with batch norm: convolutions have a bias, scales but the first open with pooling; 27,661,440 parameters."""
    scales: list[list[nn.Module]] = []
    for number, channels in enumerate(_C3D):
        scale: list[nn.Module] = [nn.MaxPool3d((1, 2, 2) if number == 1 else 2)] if number else []
        for before, after in pairwise(channels):
            scale += [nn.Conv3d(before, after, 3, padding=1), nn.BatchNorm3d(after), nn.ReLU(inplace=True)]
        scales.append(scale)
    return scales


def _residual(conv: _Conv) -> list[list[nn.Module]]:
    stem = [conv(3, 64, (3, 7, 7), (1, 2, 2)), nn.BatchNorm3d(64), nn.ReLU(inplace=True)]
    return [stem, *([_Block(conv, before, after, (s, s, s))] for before, after, s in _STAGES)]


def _whole(before: int, after: int, kernel: _Triple, stride: _Triple) -> nn.Module:
    time, height, width = (side // 2 for side in kernel)
    return nn.Conv3d(before, after, kernel, stride, (time, height, width), bias=False)


def _factored(before: int, after: int, kernel: _Triple, stride: _Triple) -> nn.Module:
    time, height, width = kernel
    # as many weights as the whole convolution has (R(2+1)D's paper, section 3.5)
    middle = time * height * width * before * after // (height * width * before + time * after)
    space = _whole(before, middle, (1, height, width), (1, *stride[1:]))
    across = _whole(middle, after, (time, 1, 1), (stride[0], 1, 1))
    return nn.Sequential(space, nn.BatchNorm3d(middle), nn.ReLU(inplace=True), across)


class _Block(nn.Module):
    """Two 3x3x3 convolutions and a shortcut, which is a 1x1x1 convolution where the shape changes."""

    def __init__(self, conv: _Conv, before: int, after: int, stride: _Triple) -> None:
        super().__init__()
        self.main = nn.Sequential(
            conv(before, after, (3, 3, 3), stride),
            nn.BatchNorm3d(after),
            nn.ReLU(inplace=True),
            conv(after, after, (3, 3, 3), (1, 1, 1)),
            nn.BatchNorm3d(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if before != after:
            self.shortcut = nn.Sequential(conv(before, after, (1, 1, 1), stride), nn.BatchNorm3d(after))

    def forward(self, x: Tensor) -> Tensor:
        return (self.main(x) + self.shortcut(x)).relu()
