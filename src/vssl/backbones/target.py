"""`ImageTarget`: a frozen image network whose features others regress to (iBoot), and which reads out as a control."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from timm.models import get_pretrained_cfg
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from vssl.backbones.base import Backbone, Input
from vssl.backbones.parts import as_floats, deepest, triple, unfold_frames, whole
from vssl.backbones.timm_models import check_arguments, check_name, create_timm, sized
from vssl.backbones.weights import load_weights
from vssl.errors import UserError

RANDOM = "random"
CHUNK = 256
"""Frames per forward pass: bounds the memory."""
CALIBRATION_FRAMES = 64


class ImageTarget(Backbone):
    """A timm network with weights from a local file, frozen: no gradient, eval mode for ever, nothing in checkpoints.

    The network is no submodule: `.train()`, optimizers, state dicts, DDP and SyncBatchNorm do not reach it; only moves
    to a device or precision do. The frame feature is what the network is used with: pooled, before the classifier;
    of a CLIP tower (by timm's name and tag) after its projection. As an encoder its maps are unit frame features and
    its clip feature is their mean.

    Args:
        name: Model name as timm lists it, with its tag where that decides the layout
            (`vit_base_patch16_clip_224.openai` has the projection, without a tag it is a classifier).
        weights: Local state-dict file in timm's layout (`.safetensors` or `torch.save`), loaded strictly, never
            downloaded; or "random": initialised from `seed`, a control and no teacher.
        mean: Input mean per channel, of these weights.
        std: Input standard deviation per channel, of these weights.
        size: Side of its input, pixels; other inputs are resized.
        model_kwargs: More plain arguments of the timm model, of these weights: `{pad_type: same}`.
        sha256: What the file must have; None: any. A checkpoint keeps it either way, and a resume compares.
        pre_proj: Of a CLIP tower: take the feature before the projection.
        provenance: What the weights were trained on, in words; stands in every result.
        labels_used: Labels that their training used: "none" (DINO), "ImageNet-1k". What learns from it is ranked apart
            from what learns from another supervision. Of "random" always "none".
        seed: Of "random"; torch's global generator is left alone.
        calibrate: Of "random": set batch-norm statistics from 64 smooth noise images of the same seed. With statistics
            of 0 and 1 an untrained network computes nothing useful.

    Raises:
        UserError: Unknown model, refused arguments, no such file, another checksum, or weights that do not fit.
    """

    def __init__(
        self,
        name: str,
        *,
        weights: str,
        mean: Sequence[float],
        std: Sequence[float],
        size: int = 224,
        model_kwargs: dict[str, Any] | None = None,
        sha256: str | None = None,
        pre_proj: bool = False,
        provenance: str = "",
        labels_used: str = "unknown",
        seed: int = 0,
        calibrate: bool = True,
    ) -> None:
        super().__init__()
        check_name(name)
        check_arguments(model_kwargs or {})
        self.name, self.weights, self.size = name, weights, whole(size, "size")
        self.mean, self.std = triple(mean, "mean"), triple(std, "std")
        self.model_kwargs = dict(model_kwargs or {})
        self.sha256, self.pre_proj, self.provenance = sha256, pre_proj, provenance
        self.labels_used = "none" if weights == RANDOM else labels_used
        self.seed, self.calibrate = seed, calibrate
        self.input = Input(size=size, mean=as_floats(self.mean), std=as_floats(self.std))
        with torch.random.fork_rng(devices=[]):  # what is initialised after it must not depend on it
            torch.manual_seed(seed)
            net = create_timm(name, sized(name, size, self.model_kwargs))
        self._projects = not pre_proj and _is_clip(name)
        self.dim = int(net.num_classes if self._projects else net.head_hidden_size)
        self.map_dims = (self.dim,)
        self.digest = self._fill(net)
        self._hidden: tuple[nn.Module, ...] = (net.eval().requires_grad_(False),)

    @property
    def net(self) -> Any:
        """The timm network."""
        return self._hidden[0]

    @property
    def title(self) -> str:
        """Name and provenance, for people."""
        origin = f"random {self.seed}" if self.weights == RANDOM else self.provenance or Path(self.weights).name
        return f"{self.name} ({origin})"

    @torch.no_grad()
    def frames(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Raw features of single frames that are normalised as the card says."""
        return torch.cat([self._features(part) for part in x.split(CHUNK)])

    def maps(self, x: Float[Tensor, "n t 3 h w"], last: int = 1) -> tuple[Tensor, ...]:
        """One map, the unit features of every frame: (N, D, T, 1, 1)."""
        frames = x.flatten(0, 1)
        if frames.shape[-2:] != (self.size, self.size):
            frames = F.interpolate(frames, (self.size, self.size), mode="bilinear", antialias=True)
        unit = F.normalize(self.frames(frames), dim=-1)
        return deepest([unfold_frames(unit[..., None, None], x.shape[1])], last)

    @override
    def train(self, mode: bool = True) -> "ImageTarget":
        """Stay in eval mode, whatever is asked."""
        return super().train(False)

    def _features(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        return self.net(x) if self._projects else self.net.forward_head(self.net.forward_features(x), pre_logits=True)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "ImageTarget":
        for module in self._hidden:
            module._apply(fn, recurse)
        super()._apply(fn, recurse)
        return self

    def _fill(self, net: Any) -> str:
        """Load or calibrate; a SHA-256 of the file, or of what determines the random network."""
        tensors = net.state_dict()
        if self.weights == RANDOM:
            plain = hashlib.sha256(f"{self.name} {self.model_kwargs} {self.size} {self.seed} {self.calibrate}".encode())
            if self.calibrate:
                _calibrate(net, self.size, self.seed)
            return plain.hexdigest()
        heads = set() if self._projects else _classifier(net)
        wanted = {key: tensor for key, tensor in tensors.items() if tensor.data_ptr() not in heads}
        load_weights(self.weights, wanted, own=tensors, spare=tensors.keys() - wanted.keys())
        with Path(self.weights).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if self.sha256 not in (None, digest):
            raise UserError(self.weights, f"has SHA-256 {digest}, not {self.sha256}", "Give the file that was meant.")
        return digest


def _is_clip(name: str) -> bool:
    """Whether timm's model of this name and tag is a CLIP image tower that ends in its projection."""
    card = get_pretrained_cfg(name)
    return card is not None and "clip" in name and bool(card.num_classes) and "_ft_" not in f"_{card.tag}"


def _classifier(net: Any) -> set[int]:
    return {tensor.data_ptr() for tensor in net.get_classifier().state_dict().values()}


@torch.no_grad()
def _calibrate(net: nn.Module, size: int, seed: int) -> None:
    """Batch-norm statistics of smooth noise: of no data set, so equal in every run and on every rank."""
    generator = torch.Generator().manual_seed(seed)
    noise = sum(
        F.interpolate(
            torch.randn(CALIBRATION_FRAMES, 3, side, side, generator=generator), (size, size), mode="bilinear"
        )
        for side in (2, 4, 8, 16, 32)
    )
    assert isinstance(noise, Tensor)
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.momentum = None  # the plain average
        norm.reset_running_stats()
    net.eval()
    for norm in norms:
        norm.train()
    if norms:
        net(noise / noise.std())
    net.eval()
