"""A 2-D ResNet-50 as the start of a 3-D one (iBoot, `init: inflate`; the inflation is that of I3D)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from vssl.backbones.base import Backbone
from vssl.backbones.video import VideoBackbone
from vssl.backbones.weights import read_weights
from vssl.errors import UserError

# pytorchvideo's names of a block to timm's
_BLOCK = {
    "branch1_conv": "downsample.0",
    "branch1_norm": "downsample.1",
    **{f"branch2.conv_{letter}": f"conv{i}" for i, letter in enumerate("abc", 1)},
    **{f"branch2.norm_{letter}": f"bn{i}" for i, letter in enumerate("abc", 1)},
}


def inflate(backbone: Backbone, weights: str) -> None:
    """Fill `slow_r50` from a 2-D ResNet-50: w3(t) = w2 / K_t for every one of K_t temporal taps.

    On a clip of equal frames (away from its ends) the maps are those of the 2-D network on that frame.

    Args:
        backbone: `VideoBackbone("slow_r50")`; changed in place.
        weights: Local state-dict file of timm's `resnet50`; its classifier is ignored.

    Raises:
        UserError: Another encoder, no such file, or tensors that do not fit.
    """
    if not isinstance(backbone, VideoBackbone) or backbone.name != "slow_r50":
        name = getattr(backbone, "name", type(backbone).__name__)
        raise UserError(f"init=inflate with {name}", "only slow_r50 starts from a 2-D ResNet-50", "Use init=random.")
    fill(backbone, read_weights(weights), weights)


@torch.no_grad()
def fill(backbone: Backbone, tensors: Mapping[str, Tensor], source: str) -> None:
    """`inflate` from tensors; `source` names them in an error."""
    for key, own in backbone.state_dict().items():
        name = two_dimensional(key)
        given = tensors.get(name)
        if given is not None and own.ndim == 5:
            given = given[:, :, None].expand(-1, -1, own.shape[2], -1, -1) / own.shape[2]
        if given is None or given.shape != own.shape:
            rule = f"is no ResNet-50 in timm's layout: {name} is {'missing' if given is None else 'of another shape'}"
            raise UserError(source, rule, "Give the state dict of timm's resnet50, or init=random.")
        own.copy_(given)


def two_dimensional(key: str) -> str:
    """A tensor of `slow_r50` as timm's `resnet50` calls it: `scales.0.0.conv.weight` is `conv1.weight`."""
    _, scale, _, rest = key.split(".", 3)
    if scale == "0":
        return rest.replace("norm", "bn1").replace("conv", "conv1")
    _, block, rest = rest.split(".", 2)
    module, tensor = rest.rsplit(".", 1)
    return f"layer{scale}.{block}.{_BLOCK[module]}.{tensor}"
