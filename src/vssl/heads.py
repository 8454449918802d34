"""What sits between an encoder and a loss."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


def mlp(dim: int, hidden: int, out: int, *, bias: bool = False) -> nn.Sequential:
    """Linear(dim, hidden) - BatchNorm - ReLU - Linear(hidden, out): the projector of BYOL, DetCon and VITO.

    Args:
        dim: Input width.
        hidden: Hidden width.
        out: Output width.
        bias: Whether the last layer has a bias (auxSKD's predictor has one).
    """
    return nn.Sequential(
        nn.Linear(dim, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, out, bias=bias)
    )


class AttentionPool(nn.Module):
    """Multi-scale attention pooling (VITO, section 3.2): one scalar mask per scale, softmax over locations.

        m_s = softmax_ij( a_s(h_s[i, j]) ),   h^_s = sum_ij m_s[i, j] h_s[i, j],   output = concat_s h^_s

    `a_s` is an MLP c_s -> hidden -> 1 applied at every location, independent per scale. Its last layer starts at zero,
    so that training starts exactly at global average pooling.

    Args:
        map_dims: Channels c_s of every scale, shallow to deep.
        hidden: Hidden width of `a_s` (not in the paper; see docs/methods/vito.md).
    """

    def __init__(self, map_dims: tuple[int, ...], hidden: int = 512) -> None:
        super().__init__()
        self.dim = sum(map_dims)
        self.scorers = nn.ModuleList(_scorer(c, hidden) for c in map_dims)

    def masks(self, maps: tuple[Tensor, ...]) -> list[Float[Tensor, "n locations"]]:
        """One mask per scale over its T * H * W locations; every mask sums to 1."""
        assert len(maps) == len(self.scorers)
        return [
            scorer(h.flatten(2).transpose(1, 2)).squeeze(-1).float().softmax(dim=-1)
            for scorer, h in zip(self.scorers, maps, strict=True)
        ]

    def forward(self, maps: tuple[Tensor, ...]) -> Float[Tensor, "n d"]:
        """Feature maps (N, c_s, T, H, W) to the concatenated pooled vectors (N, sum of c_s)."""
        pooled = [pool(h, m) for h, m in zip(maps, self.masks(maps), strict=True)]
        return torch.cat(pooled, dim=-1)


def _scorer(dim: int, hidden: int) -> nn.Sequential:
    first, last = nn.Linear(dim, hidden), nn.Linear(hidden, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(first, nn.ReLU(inplace=True), last)


def pool(h: Float[Tensor, "n c t h w"], mask: Float[Tensor, "n locations"]) -> Float[Tensor, "n c"]:
    """Mean of the locations of `h`, weighted by `mask`."""
    return torch.einsum("ncl,nl->nc", h.flatten(2), mask.to(h.dtype)) / mask.sum(-1, keepdim=True).to(h.dtype)
