"""MViT-B of pytorchvideo without its class token, so that its feature is a mean of maps like every other encoder's."""

from itertools import pairwise
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

_STARTS = (0, 1, 3, 14, 16)  # blocks 1, 3 and 14 halve the resolution


def scales(net: Any) -> list[list[nn.Module]]:
    """The modules of four scales of `mvit_base_16x4(cls_embed_on=False)`."""
    stages: list[list[nn.Module]] = [[_Blocks(net.blocks[first:stop])] for first, stop in pairwise(_STARTS)]
    return [[_Entry(net), *stages[0]], *stages[1:-1], [*stages[-1], _Norm(net.norm_embed)]]


class _Entry(nn.Module):
    """Patches plus their positions, which are interpolated where the clip is not 16 x 224 x 224."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.patch, self.position = net.patch_embed.patch_model, net.cls_positional_encoding

    def forward(self, x: Float[Tensor, "n 3 t h w"]) -> Float[Tensor, "n c t2 h2 w2"]:
        x = self.patch(x)
        _, height, width = self.position.patch_embed_shape
        space = self.position.pos_embed_spatial.transpose(1, 2).unflatten(2, (height, width))
        time = self.position.pos_embed_temporal.transpose(1, 2)
        space = F.interpolate(space, size=x.shape[3:], mode="bicubic", align_corners=False)
        time = F.interpolate(time, size=x.shape[2], mode="linear", align_corners=False)
        return x + space[:, :, None] + time[..., None, None]


class _Blocks(nn.Module):
    """Transformer blocks on maps instead of tokens."""

    def __init__(self, blocks: nn.ModuleList) -> None:
        super().__init__()
        self.blocks = blocks

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n c2 t2 h2 w2"]:
        shape, tokens = list(x.shape[2:]), x.flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens, shape = block(tokens, shape)
        return tokens.transpose(1, 2).unflatten(2, tuple(shape))


class _Norm(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n c t h w"]:
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)
