"""Image encoders: any timm model that yields 2-D feature maps."""

from collections.abc import Sequence
from typing import Any

import timm
import torch
from jaxtyping import Float
from timm.models import get_pretrained_cfg
from timm.models.resnetv2 import ResNetV2
from torch import Tensor, nn

from vssl.backbones.base import IMAGENET_MEAN, IMAGENET_STD, Backbone, Input
from vssl.backbones.parts import as_floats, deepest, triple, unfold_frames, whole
from vssl.backbones.timm_models import check_arguments, check_name, create_timm, sized
from vssl.backbones.weights import load_weights
from vssl.errors import UserError


class ImageBackbone(Backbone):
    """A timm network, frame by frame; a clip's feature is the mean over its frames.

    Args:
        name: Model name as timm lists it, with or without its tag (`resnet50`, `resnet50.a1_in1k`).
        weights: Local state-dict file, in timm's layout for this model or saved from this encoder; None: random.
            Loaded strictly (a classifier is ignored). Never downloaded, and not part of `spec()`.
        size: Side of the crop it wants. Networks of a fixed input size are built for this size.
        mean: Input mean per channel; None: timm's for this model.
        std: Input standard deviation per channel; None: timm's for this model.
        model_kwargs: More plain arguments of the timm model: `{pad_type: same}`, `{dynamic_img_size: true}`.

    Raises:
        UserError: Unknown model, one without 2-D feature maps, an argument timm refuses, weights that do not fit.
    """

    def __init__(
        self,
        name: str = "resnet50",
        *,
        weights: str | None = None,
        size: int = 224,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        model_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_name(name)
        check_arguments(model_kwargs or {})
        card = get_pretrained_cfg(name)
        self.name, self.weights, self.size = name, weights, whole(size, "size")
        self.mean = triple(mean or (card.mean if card else IMAGENET_MEAN), "mean")
        self.std = triple(std or (card.std if card else IMAGENET_STD), "std")
        self.model_kwargs = dict(model_kwargs or {})
        self._arguments = sized(name, size, self.model_kwargs)
        net = create_timm(name, self._arguments, features_only=True)
        self.net = net
        self.map_dims = tuple(net.feature_info.channels())
        self.dim = self.map_dims[-1]
        self.final_norm = _final_norm(name, self.dim, self._arguments)
        self.input = Input(size=size, mean=as_floats(self.mean), std=as_floats(self.std))
        layout = getattr(net, "output_fmt", None)  # set by timm where the maps may be something else than NCHW
        self._layout = str(getattr(layout, "value", layout or "NCHW"))
        if self._layout not in ("NCHW", "NHWC"):
            raise UserError(name, f"its features are {self._layout}, not 2-D maps", "Choose another timm model.")
        if weights is not None:
            self._load(weights)

    def maps(self, x: Float[Tensor, "n t 3 h w"], last: int = 1) -> tuple[Tensor, ...]:
        """Feature maps of the last `last` scales, each (N, D_s, T, H_s, W_s): frames are seen one by one."""
        maps = deepest(self.net(x.flatten(0, 1)), last)
        if self.final_norm is not None:
            maps = (*maps[:-1], self.final_norm(maps[-1]))
        if self._layout == "NHWC":
            maps = tuple(scale.permute(0, 3, 1, 2) for scale in maps)
        return tuple(unfold_frames(scale, x.shape[1]) for scale in maps)

    def spec(self) -> dict[str, Any]:
        """As every encoder's, without the weights file: a checkpoint must not depend on it."""
        spec = super().spec()
        return spec | {"init_args": spec["init_args"] | {"weights": None}}

    def library_names(self) -> tuple[dict[str, str], set[str]]:
        """Name in timm -> name here, and the names that only timm's whole model has (its head)."""
        # out_indices is an argument of feature maps only
        arguments = {key: value for key, value in self._arguments.items() if key != "out_indices"}
        with torch.random.fork_rng(devices=[]):  # the whole model is built for its names only
            model = timm.create_model(self.name, pretrained=False, **arguments)
        names = {_plain(name): name for name in model.state_dict()}
        found: dict[str, str] = {}
        for key in self.net.state_dict():
            # timm's wrappers fold `layers.0` into `layers_0` or put the model under one more name
            name = names.get(_plain(key)) or names.get(_plain(key.partition(".")[2]))
            if name is None:
                raise UserError(self.name, f"no tensor of the timm model belongs to its feature map's {key}")
            found[name] = f"net.{key}"
        if self.final_norm is not None:
            found |= {f"norm.{key}": f"final_norm.{key}" for key in self.final_norm.state_dict()}
        return found, names.values() - found.keys()

    def _load(self, file: str) -> None:
        own = self.state_dict()
        names, spare = self.library_names()
        load_weights(file, {theirs: own[name] for theirs, name in names.items()}, own=own, spare=spare)


def _plain(name: str) -> str:
    return name.replace("_", ".")


def _final_norm(name: str, dim: int, arguments: dict[str, Any]) -> nn.Module | None:
    """The norm and ReLU after the last block of a pre-activation network, which timm's feature maps leave out."""
    if not name.startswith("resnetv2"):
        return None
    arguments = {key: value for key, value in arguments.items() if key != "out_indices"}
    with torch.random.fork_rng(devices=[]):
        model = timm.create_model(name, pretrained=False, num_classes=0, **arguments)
    assert isinstance(model, ResNetV2)
    ends_earlier = model.num_features != dim
    return None if ends_earlier or isinstance(model.norm, nn.Identity) else model.norm
