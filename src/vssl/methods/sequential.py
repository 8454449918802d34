"""Several clips of a video for the memory of one."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vssl.backbones.base import Backbone


def encode_in_turn(backbone: Backbone, clips: Float[Tensor, "b v t 3 h w"]) -> Float[Tensor, "b v d"]:
    """Features of every clip, one forward pass after the other; the backward pass computes each again.

    The activations of one clip are held at a time. Batch norms see one clip per video at a time, and count it once.
    """
    features = []
    for clip in clips.unbind(1):
        out = checkpoint(
            backbone, clip, use_reentrant=False, context_fn=lambda: (nullcontext(), without_statistics(backbone))
        )
        assert isinstance(out, Tensor)
        features.append(out)
    return torch.stack(features, 1)


@contextmanager
def without_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norms leave their running statistics alone: a second forward pass of the same input counts once."""
    kinds = nn.modules.batchnorm._BatchNorm
    kept = [(m, m.momentum, m.num_batches_tracked) for m in module.modules() if isinstance(m, kinds)]
    for norm, _, count in kept:
        norm.momentum = 0.0
        norm.num_batches_tracked = None if count is None else count.clone()
    try:
        yield
    finally:
        for norm, momentum, count in kept:
            norm.momentum, norm.num_batches_tracked = momentum, count
