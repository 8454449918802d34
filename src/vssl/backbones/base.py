"""What every encoder promises.

N rows (clips or images), T frames, D feature width, D_s channels of scale s.
"""

import inspect
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Input(NamedTuple):
    """The encoder's card: what it wants to see. Stored with its weights; `input: native` protocols read it."""

    size: int
    """Side of the square crop, pixels."""
    frames: int = 1
    """Frames per clip; 1 for an image encoder."""
    stride: int = 1
    """Source frames from one frame of the clip to the next."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    color: str = "rgb"


class Backbone(nn.Module, ABC):
    """An encoder from clips (N, T, 3, H, W) to features (N, D); an image is a clip with T = 1.

    Every constructor argument is a plain value (str, int, float, bool, None, or a list or mapping of these) and is
    stored as an attribute of the same name: `spec()` reads them back, and that is what a checkpoint embeds to rebuild
    the encoder.
    """

    dim: int
    """Feature width D."""
    map_dims: tuple[int, ...]
    """Channels of the feature maps, shallow to deep; `maps(x, last=k)` returns the last k of them."""
    input: Input

    def forward(self, x: Float[Tensor, "n t 3 h w"]) -> Float[Tensor, "n d"]:
        """Global mean over time and space of the last feature map."""
        return self.maps(x)[-1].mean(dim=(2, 3, 4))

    @abstractmethod
    def maps(self, x: Float[Tensor, "n t 3 h w"], last: int = 1) -> tuple[Tensor, ...]:
        """Feature maps of the last `last` scales, shallow to deep, each (N, D_s, T_s, H_s, W_s)."""

    def spec(self) -> dict[str, Any]:
        """`{"class_path": ..., "init_args": ...}`: plain values that rebuild this encoder without its weights."""
        names = list(inspect.signature(type(self).__init__).parameters)[1:]
        cls = type(self)
        return {
            "class_path": f"{cls.__module__}.{cls.__qualname__}",
            "init_args": {name: getattr(self, name) for name in names},
        }
