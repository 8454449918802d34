"""An image classifier from a local file, as a judge of frames: its top-1 class, frame by frame."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from vssl.backbones.base import IMAGENET_MEAN, IMAGENET_STD
from vssl.backbones.parts import triple
from vssl.backbones.timm_models import check_name, create_timm
from vssl.backbones.weights import load_weights

CHUNK = 25
"""Frames classified together. Fixed: a batch of another size may change the last digits of a score."""


class Classifier:
    """A timm classifier with weights from a file, loaded strictly; nothing is downloaded.

    The weights' own card (`mean`, `std`, `model_kwargs`) matters: with a wrong one a file may load and answer wrongly.

    Args:
        name: Model name as timm lists it.
        weights: Local state-dict file in timm's layout.
        model_kwargs: Plain arguments of the timm model: `{"pad_type": "same"}`.
        mean: Input mean per channel; None: timm's for this model.
        std: Input standard deviation per channel; None: timm's for this model.
        size: Side of the crop.

    Raises:
        UserError: timm has no such model or refuses the arguments, or the weights do not fit.
    """

    def __init__(
        self,
        name: str,
        weights: Path,
        *,
        model_kwargs: dict[str, Any] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        size: int = 224,
    ) -> None:
        check_name(name)
        net = create_timm(name, model_kwargs or {})
        tensors = net.state_dict()
        load_weights(str(weights), tensors, own=tensors, spare=())
        card = get_pretrained_cfg(name)
        self.num_classes, self.size = net.num_classes, size
        self.mean = triple(mean or (card.mean if card else IMAGENET_MEAN), "mean")
        self.std = triple(std or (card.std if card else IMAGENET_STD), "std")
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.net: nn.Module = net.eval().to(self.device)
        self.card: dict[str, Any] = {
            "name": name,
            "model_kwargs": model_kwargs or {},
            "mean": self.mean,
            "std": self.std,
            "size": size,
            "weights": hashlib.blake2b(weights.read_bytes(), digest_size=16).hexdigest(),
        }

    @torch.inference_mode()
    def top1s(self, frames: UInt8[Tensor, "n 3 s s"]) -> Iterator[list[int]]:
        """Top-1 class of every frame, a chunk at a time, so that a caller may stop early."""
        mean, std = (torch.tensor(v, device=self.device).view(3, 1, 1) for v in (self.mean, self.std))
        for chunk in frames.split(CHUNK):
            x = chunk.to(self.device).float().div_(255.0).sub_(mean).div_(std)
            yield self.net(x).argmax(-1).tolist()
