"""Clip encoders: the trunks of torchvision and pytorchvideo and VCOP's small ones, with our own pooling.

The libraries' heads are never used: s3d's and slow_r50's pool with a fixed window and fail at 112 pixels.
"""

import difflib
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torchvision.models.video as torchvision_video
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.video.s3d import TemporalSeparableConv
from torchvision.ops.misc import Conv3dNormActivation

from vssl.backbones import mvit, vcop
from vssl.backbones.base import Backbone, Input
from vssl.backbones.catalog import PYTORCHVIDEO, TORCHVISION, VCOP
from vssl.backbones.parts import as_floats, deepest, triple, whole
from vssl.backbones.weights import load_weights
from vssl.errors import UserError

_BOTTLENECK = (64, 256, 512, 1024, 2048)
_X3D = (24, 24, 48, 96, 432)


class _Net(NamedTuple):
    map_dims: tuple[int, ...]
    card: Input
    min_frames: int = 1
    min_size: int = 1


def _torchvision(size: int, frames: int, stride: int) -> Input:
    return Input(size, frames, stride, mean=(0.43216, 0.394666, 0.37645), std=(0.22803, 0.22145, 0.216989))


def _slowfast(size: int, frames: int, stride: int) -> Input:
    return Input(size, frames, stride, mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225))


# VCOP and auxSKD do not normalise: 16 frames in a row of pixels in 0..1 (theirs 0..255; batch norm undoes the scale)
_VCOP = Input(112, 16, 1, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
_S3D = _Net((64, 192, 480, 832, 1024), _torchvision(224, 64, 2), min_frames=8, min_size=17)
_R18 = _Net((64, 64, 128, 256, 512), _torchvision(112, 16, 2))

# Cards. torchvision: crop, mean and std of its Kinetics-400 weights; they sample 15 frames/s of 30, hence stride 2;
# s3d is trained on 64 frames (torchvision's recipe, pull request 6537, as the paper) and tested on 128.
# pytorchvideo: frames x stride of its model zoo,
# training crop of its builders, PySlowFast's mean and std.
# s3d: 8 frames although 5 pass forwards: with 5 to 7, oneDNN's weight gradient of its 7x1x1 stride-2 convolution is
# garbage or writes past its buffers (torch 2.15 on a CPU, against the same with oneDNN off; 8 to 16 frames are right).
_NETS = {
    "r3d_18": _R18,
    "mc3_18": _R18,
    "r2plus1d_18": _R18,
    "s3d": _S3D,
    "s3dg": _S3D,
    "r2plus1d_vcop": _Net((64, 64, 128, 256, 512), _VCOP),
    "r3d_vcop": _Net((64, 64, 128, 256, 512), _VCOP),
    "c3d_bn": _Net((64, 128, 256, 512, 512), _VCOP, min_frames=8, min_size=16),
    "slow_r50": _Net(_BOTTLENECK, _slowfast(224, 8, 8)),
    "c2d_r50": _Net(_BOTTLENECK, _slowfast(224, 8, 8), min_frames=2),
    "i3d_r50": _Net(_BOTTLENECK, _slowfast(224, 8, 8), min_frames=2),
    "r2plus1d_r50": _Net(_BOTTLENECK, _slowfast(224, 16, 4)),
    "csn_r101": _Net(_BOTTLENECK, _slowfast(224, 32, 2)),
    "x3d_xs": _Net(_X3D, _slowfast(160, 4, 12)),
    "x3d_s": _Net(_X3D, _slowfast(160, 13, 6)),
    "x3d_m": _Net(_X3D, _slowfast(224, 16, 5)),
    "mvit_base_16x4": _Net((192, 384, 768, 768), _slowfast(224, 16, 4)),
}


class VideoBackbone(Backbone):
    """A 3-D network; its feature is the global mean of the last map.

    Args:
        name: r3d_18, mc3_18, r2plus1d_18, s3d, s3dg (torchvision; s3dg is its s3d with feature gating);
            r2plus1d_vcop, r3d_vcop, c3d_bn (ours); slow_r50, c2d_r50, i3d_r50, r2plus1d_r50, csn_r101, x3d_xs,
            x3d_s, x3d_m (pytorchvideo; x3d with its conv5, 432 wide, as part of the last scale),
            mvit_base_16x4 (pytorchvideo, without class token).
        weights: Local state-dict file in the library's layout or saved from this encoder; None: random. Loaded
            strictly (a classifier is ignored). Never downloaded, and not part of `spec()`.
        size: Side of the crop it wants; None: the published model's, as for the next four.
        frames: Frames per clip.
        stride: Source frames from one frame of the clip to the next.
        mean: Input mean per channel.
        std: Input standard deviation per channel.
        norm_eps: Added to the variance in every batch norm; None: the library's (1e-3 in s3d, else mostly 1e-5).

    Raises:
        UserError: Unknown network, weights that do not fit, or (in use) a clip too short or too small for it.
    """

    def __init__(
        self,
        name: str = "r3d_18",
        *,
        weights: str | None = None,
        size: int | None = None,
        frames: int | None = None,
        stride: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        norm_eps: float | None = None,
    ) -> None:
        super().__init__()
        if name not in _NETS:
            close = difflib.get_close_matches(name, _NETS, n=2, cutoff=0.5)
            remedy = f"Did you mean {' or '.join(close)}?" if close else f"There are {', '.join(_NETS)}."
            raise UserError(name, "no such video network", remedy)
        net = _NETS[name]
        self.name, self.weights, self.map_dims, self.dim = name, weights, net.map_dims, net.map_dims[-1]
        self.size = whole(size or net.card.size, "size")
        self.frames = whole(frames or net.card.frames, "frames")
        self.stride = whole(stride or net.card.stride, "stride")
        self.mean, self.std = triple(mean or net.card.mean, "mean"), triple(std or net.card.std, "std")
        self.input = Input(self.size, self.frames, self.stride, as_floats(self.mean), as_floats(self.std))
        _, scales = _trunk(name)
        self.scales = nn.ModuleList(nn.Sequential(*parts) for parts in scales)
        self.norm_eps = norm_eps
        for module in self.modules():
            if norm_eps is not None and isinstance(module, nn.BatchNorm3d):
                module.eps = norm_eps
        if weights is not None:
            self._load(weights)

    def maps(self, x: Float[Tensor, "n t 3 h w"], last: int = 1) -> tuple[Tensor, ...]:
        """Feature maps of the last `last` scales of five: stem, then the four stages (mvit: four stages)."""
        net = _NETS[self.name]
        if x.shape[1] < net.min_frames or min(x.shape[3:]) < net.min_size:
            clip = "x".join(str(side) for side in (x.shape[1], *x.shape[3:]))
            rule = f"{self.name} needs clips of at least {net.min_frames} frames of {net.min_size} pixels"
            raise UserError(clip, rule, "Use longer or larger clips.")
        out = x.transpose(1, 2)
        maps = []
        for scale in self.scales:
            out = scale(out)
            maps.append(out)
        return deepest(maps, last)

    def spec(self) -> dict[str, Any]:
        """As every encoder's, without the weights file: a checkpoint must not depend on it."""
        spec = super().spec()
        return spec | {"init_args": spec["init_args"] | {"weights": None}}

    def library_names(self) -> tuple[dict[str, str], set[str]]:
        """Name in the library -> name here, and the names that only the library's whole network has (its head)."""
        with torch.random.fork_rng(devices=[]):  # built once more, for its names only
            library, scales = _trunk(self.name)
        parts = nn.ModuleList(nn.Sequential(*scale) for scale in scales).state_dict()
        mine = {tensor.data_ptr(): f"scales.{name}" for name, tensor in parts.items()}
        names = {name: mine.get(tensor.data_ptr()) for name, tensor in library.state_dict().items()}
        return {theirs: own for theirs, own in names.items() if own}, {name for name, own in names.items() if not own}

    def _load(self, file: str) -> None:
        own = self.state_dict()
        names, spare = self.library_names()
        load_weights(file, {theirs: own[name] for theirs, name in names.items()}, own=own, spare=spare)


def _trunk(name: str) -> tuple[nn.Module, list[list[nn.Module]]]:
    """The library's whole network, and its modules up to the head, grouped by scale."""
    if name in VCOP:
        scales = getattr(vcop, name)()
        return nn.ModuleList(nn.ModuleList(scale) for scale in scales), scales
    if name in TORCHVISION:
        net = getattr(torchvision_video, name.removesuffix("g"))(weights=None)
        if name.startswith("s3d"):
            if name == "s3dg":
                _add_gates(net)
            parts = list(net.features)
            return net, [parts[:1], parts[1:4], parts[4:7], parts[7:13], parts[13:]]
        return net, [[net.stem], [net.layer1], [net.layer2], [net.layer3], [net.layer4]]
    assert name in PYTORCHVIDEO
    if name == "mvit_base_16x4":
        net = _pytorchvideo().mvit_base_16x4(pretrained=False, cls_embed_on=False)
        return net, mvit.scales(net)
    net = getattr(_pytorchvideo(), name)(pretrained=False)
    _use_silu(net)
    scales = [[]]
    for block in net.blocks[:-1]:
        scales[-1].append(block)
        if not isinstance(block, nn.MaxPool3d):  # i3d and c2d pool over time between two stages
            scales.append([])
    scales.pop()
    if name.startswith("x3d"):
        pool = net.blocks[-1].pool  # conv5 of the paper's table 1 hides in the head, before its pooling
        scales[-1] += [pool.pre_conv, pool.pre_norm, pool.pre_act]
    return net, scales


class _Gate(nn.Module):
    """S3D-G's feature gating: x * sigmoid(W mean(x) + b), the mean over time and space (Xie et al. 2018, 4.4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.linear(x.mean(dim=(2, 3, 4))).sigmoid()[..., None, None, None]


def _add_gates(net: nn.Module) -> None:
    for conv in [module for module in net.modules() if isinstance(module, TemporalSeparableConv)]:
        across = conv[1]
        assert isinstance(across, Conv3dNormActivation)
        conv.append(_Gate(across.out_channels))


def _use_silu(net: nn.Module) -> None:
    # x * sigmoid(x), as theirs, whose backward asks torch for `saved_variables`, which is deprecated
    for parent in list(net.modules()):
        for name, child in parent.named_children():
            if type(child).__name__ == "Swish":
                setattr(parent, name, nn.SiLU())


def _pytorchvideo() -> Any:
    with warnings.catch_warnings():
        # fvcore, which it imports, scripts a loss that we do not use
        warnings.filterwarnings("ignore", message=".torch.jit.script", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".torch.jit.script", category=DeprecationWarning)
        from pytorchvideo.models import hub
    return hub
