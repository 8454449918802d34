"""What every encoder promises, for every encoder of the catalog."""

import json
import random
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vssl.backbones import catalog
from vssl.backbones.base import Backbone, Input
from vssl.backbones.registry import build, registered


class Case(NamedTuple):
    name: str
    init_args: dict[str, Any]
    clips: tuple[tuple[int, int], ...]
    """Two (frames, size) it is run at."""
    num_scales: int
    keeps_frames: bool = False
    """Its maps have as many frames as the clip: it sees frames one by one."""

    def __str__(self) -> str:
        return "-".join([self.name, *(str(value) for value in self.init_args.values() if not isinstance(value, dict))])


def image(name: str, num_scales: int, **init_args: Any) -> Case:
    return Case("ImageBackbone", {"name": name, **init_args}, ((1, 64), (3, 96)), num_scales, keeps_frames=True)


VIDEO_NAMES = catalog.TORCHVISION + catalog.VCOP + catalog.PYTORCHVIDEO
LONG = {"s3d", "s3dg", "c3d_bn"}  # need 8 frames
TARGET = {"name": "test_resnet", "weights": "random", "mean": [0.5] * 3, "std": [0.5] * 3, "size": 32}
CASES = [
    image("resnet18", 5),
    image("mobilenetv2_100", 5, model_kwargs={"pad_type": "same"}),
    image("swin_tiny_patch4_window7_224", 4, size=64, model_kwargs={"strict_img_size": False}),
    image("vit_tiny_patch16_224", 3, size=64, model_kwargs={"dynamic_img_size": True}),
    *[
        Case("VideoBackbone", {"name": name}, ((6 + 2 * (name in LONG), 48), (9, 32)), 5 - name.startswith("mvit"))
        for name in VIDEO_NAMES
    ],
    Case("TinyImage", {"width": 4}, ((1, 24), (3, 32)), 4, keeps_frames=True),
    Case("TinyImage", {"width": [4, 6, 8, 8], "norm": "group"}, ((1, 24), (3, 32)), 4, keeps_frames=True),
    Case("TinyVideo", {"width": 4}, ((4, 24), (6, 32)), 3),
    Case("TinyVideo", {"width": [4, 6, 8], "stem": "difference", "light": True}, ((1, 24), (6, 32)), 3),
    Case("PixelHistogram", {"bins": 8}, ((1, 24), (3, 32)), 1, keeps_frames=True),
    Case("FrameDifference", {"bins": 8}, ((2, 24), (5, 32)), 1),
    Case("ImageTarget", TARGET, ((1, 24), (3, 32)), 1, keeps_frames=True),
]
NUM_BACKBONES = 7
# the rest of the big ones differ from one that stays by its settings alone
SLOW = {"c2d_r50", "i3d_r50", "r2plus1d_r50", "csn_r101", "x3d_xs", "x3d_s", "s3dg", "mvit_base_16x4"}
PARAMS = [pytest.param(c, id=str(c), marks=[pytest.mark.slow] * (c.init_args.get("name") in SLOW)) for c in CASES]


@pytest.fixture(params=PARAMS, scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def backbone(case: Case) -> Backbone:
    return made(case, seed=0).eval()


def made(case: Case, seed: int) -> Backbone:
    torch.manual_seed(seed)
    return build({"class_path": f"vssl.backbones.{case.name}", "init_args": case.init_args})


def clip(frames: int, size: int, num_clips: int = 2) -> Tensor:
    return torch.rand(num_clips, frames, 3, size, size, generator=torch.Generator().manual_seed(7))


def starved(net: Backbone, x: Tensor) -> list[str]:
    """Trainable parameters that a training step leaves without a gradient."""
    net.train()
    net(x).square().sum().backward()
    return [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]


def test_every_encoder_of_the_catalog_is_here() -> None:
    listed = {entry.name for entry in catalog.available()}
    assert {case.name for case in CASES} == listed == set(catalog.MODULES)
    assert len(listed) == NUM_BACKBONES
    assert {c.init_args["name"] for c in CASES if c.name == "VideoBackbone"} == set(VIDEO_NAMES)
    classes = registered()
    for entry in catalog.available():
        assert classes[entry.class_path] is classes[f"{catalog.MODULES[entry.name]}.{entry.name}"]


def test_card_is_complete(backbone: Backbone) -> None:
    card = backbone.input
    assert isinstance(card, Input)
    assert card.size >= 1
    assert card.frames >= 1
    assert card.stride >= 1
    assert len(card.mean) == len(card.std) == 3
    assert min(card.std) > 0
    assert card.color == "rgb"


def test_shapes_at_two_sizes_and_lengths(case: Case, backbone: Backbone) -> None:
    assert len(backbone.map_dims) == case.num_scales
    assert backbone.dim == backbone.map_dims[-1]
    for frames, size in case.clips:
        x = clip(frames, size)
        with torch.no_grad():
            features, maps = backbone(x), backbone.maps(x, last=case.num_scales)
        assert features.shape == (2, backbone.dim)
        assert features.dtype == x.dtype
        assert features.isfinite().all()
        assert tuple(scale.shape[1] for scale in maps) == backbone.map_dims
        assert all(scale.ndim == 5 and len(scale) == 2 for scale in maps)
        sides = [scale.shape[3] for scale in maps]
        assert sides == sorted(sides, reverse=True)
        assert all(scale.shape[3] == scale.shape[4] for scale in maps)
        if case.keeps_frames:
            assert all(scale.shape[2] == frames for scale in maps)
        torch.testing.assert_close(features, maps[-1].mean(dim=(2, 3, 4)))


def test_last_takes_the_deepest_maps(case: Case, backbone: Backbone) -> None:
    x = clip(*case.clips[1])
    last = min(2, case.num_scales)
    with torch.no_grad():
        everything, some, one = backbone.maps(x, last=case.num_scales), backbone.maps(x, last=last), backbone.maps(x)
    assert len(some) == last
    assert len(one) == 1
    for a, b in zip(everything[-last:], some, strict=True):
        assert torch.equal(a, b)
    assert torch.equal(one[0], everything[-1])
    for bad in (0, case.num_scales + 1):
        with pytest.raises(ValueError, match="scales"):
            backbone.maps(x, last=bad)


def test_a_non_square_clip(case: Case, backbone: Backbone) -> None:
    frames, size = case.clips[1]
    with torch.no_grad():
        *_, deep = backbone.maps(torch.rand(1, frames, 3, size, 2 * size))
    if deep.shape[3] > 1:
        assert deep.shape[4] == 2 * deep.shape[3]
    assert deep.shape[4] >= deep.shape[3]


def test_rows_do_not_depend_on_each_other_in_eval(case: Case, backbone: Backbone) -> None:
    x = clip(*case.clips[0], num_clips=3)
    with torch.no_grad():
        together, alone = backbone(x), backbone(x[1:2])
        again = backbone(x)
    assert torch.equal(together, again)
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)
    assert not torch.equal(together[0], together[1])


def test_every_trainable_parameter_gets_a_gradient(case: Case) -> None:
    net = made(case, seed=0)
    if not list(net.parameters()):
        assert case.name in ("PixelHistogram", "FrameDifference", "ImageTarget")
        assert not net.state_dict()
        return
    with torch.no_grad():
        for p in net.parameters():  # a residual branch that starts at zero gives its weights zero gradient at first
            p.add_(0.5 * float(not p.any() and p.ndim == 1))
    assert starved(net, clip(*case.clips[0])) == []
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in gradients)
    assert sum(g.abs().sum().item() > 0 for g in gradients) > 0.9 * len(gradients)


def test_a_starved_parameter_would_be_found() -> None:
    net = build({"class_path": "vssl.backbones.TinyImage", "init_args": {"width": 4}})
    net.idle = nn.Linear(2, 2)
    assert starved(net, clip(1, 24)) == ["idle.weight", "idle.bias"]


def test_spec_rebuilds_the_encoder(case: Case, backbone: Backbone) -> None:
    spec = backbone.spec()
    assert json.loads(json.dumps(spec)) == spec
    twin = build(spec)
    assert type(twin) is type(backbone)
    assert twin.input == backbone.input
    assert twin.spec() == spec
    twin.load_state_dict(backbone.state_dict(), strict=True)
    x = clip(*case.clips[0])
    with torch.no_grad():
        assert torch.equal(twin.eval()(x), backbone(x))


def test_initialisation_depends_on_the_torch_seed_alone(case: Case) -> None:
    random.seed(3)
    np.random.seed(3)  # the global generator is the point
    fresh = made(case, seed=0)
    random.seed(4)
    np.random.seed(4)
    state, again = fresh.state_dict(), made(case, seed=0).state_dict()
    assert state.keys() == again.keys()
    assert all(torch.equal(state[name], again[name]) for name in state)
    other = made(case, seed=1).state_dict()
    assert not state or any(not torch.equal(state[name], other[name]) for name in state)


def test_other_precision(case: Case) -> None:
    double = made(case, seed=0).double().eval()
    with torch.no_grad():
        assert double(clip(*case.clips[0]).double()).dtype == torch.float64
