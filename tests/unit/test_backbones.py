"""Encoders one by one: published sizes, weights from files, the registry, the baselines."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonargparse
import pytest
import timm
import torch
import torchvision.models.video as torchvision_video
from torch import Tensor, nn

import vssl.backbones
from vssl.backbones import (
    Backbone,
    FrameDifference,
    ImageBackbone,
    PixelHistogram,
    TinyImage,
    TinyVideo,
    VideoBackbone,
    build,
    catalog,
    registered,
)
from vssl.errors import UserError


def num_parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def told(call: Callable[[], Any]) -> str:
    """The line a user reads."""
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def clip(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


# --- sizes and cards ---


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (lambda: TinyImage(), 307_536),
        (lambda: TinyImage([24, 48, 96, 128]), 444_408),
        (lambda: TinyVideo(), 228_016),
        (lambda: TinyVideo(light=True, stem="difference"), 214_128),
        (lambda: VideoBackbone("r3d_18"), 33_371_472 - 513 * 400),
        (lambda: VideoBackbone("slow_r50"), 31_634_496),
        (lambda: VideoBackbone("s3d"), 8_320_048 - 1025 * 400),
        (lambda: VideoBackbone("x3d_m"), 3_794_274 - 432 * 2048 - 2049 * 400),
        (lambda: ImageBackbone("resnet50"), 25_557_032 - 2049 * 1000),
    ],
    ids=["image", "image-444k", "video", "light", "r3d_18", "slow_r50", "s3d", "x3d_m", "resnet50"],
)
def test_parameter_counts(net: Callable[[], Backbone], expected: int) -> None:
    # toy.md's networks; the published counts less the classifier (x3d: less the 2048-wide layer as well)
    assert num_parameters(net()) == expected


def test_slow_r50_has_a_stem_without_time() -> None:
    net = VideoBackbone("slow_r50")
    assert net.scales[0][0].conv.kernel_size == (1, 7, 7)
    assert net.input == (224, 8, 8, (0.45,) * 3, (0.225,) * 3, "rgb")


def test_card_follows_the_arguments() -> None:
    net = VideoBackbone("mc3_18", size=64, frames=8, stride=3, mean=[0.1, 0.2, 0.3], std=[1, 1, 1])
    assert net.input == (64, 8, 3, (0.1, 0.2, 0.3), (1.0, 1.0, 1.0), "rgb")
    assert build(net.spec()).input == net.input
    assert ImageBackbone("vit_tiny_patch16_224", size=32).input.mean == (0.5, 0.5, 0.5)  # timm's for this model
    assert "3 colour channels" in told(lambda: VideoBackbone("mc3_18", mean=[0.5]))
    assert "at least 1" in told(lambda: TinyVideo(4, frames=0))


def test_torchvision_features_are_those_before_its_classifier() -> None:
    torch.manual_seed(0)
    ours = VideoBackbone("mc3_18").eval()
    torch.manual_seed(0)
    theirs = torchvision_video.mc3_18(weights=None).eval()
    theirs.fc = nn.Identity()
    x = clip(1, 4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x.transpose(1, 2)))


def test_x3d_is_the_librarys_network() -> None:
    torch.manual_seed(0)
    ours = VideoBackbone("x3d_xs").eval()  # imports pytorchvideo without its warning
    from pytorchvideo.layers.swish import Swish
    from pytorchvideo.models import hub

    torch.manual_seed(0)
    theirs = hub.x3d_xs(pretrained=False).eval()
    assert any(isinstance(m, Swish) for m in theirs.modules())
    assert not any(isinstance(m, Swish) for m in ours.modules())
    x = clip(1, 4, 3, 64, 64)
    y = x.transpose(1, 2)
    with torch.no_grad():
        for block in theirs.blocks[:-1]:
            y = block(y)
        pool = theirs.blocks[-1].pool
        y = pool.pre_act(pool.pre_norm(pool.pre_conv(y)))
        torch.testing.assert_close(ours(x), y.mean(dim=(2, 3, 4)))


def test_too_short_or_small_a_clip_is_said() -> None:
    s3d = VideoBackbone("s3d")
    assert told(lambda: s3d(clip(1, 7, 3, 32, 32))) == (
        "7x32x32: s3d needs clips of at least 8 frames of 17 pixels. Use longer or larger clips."
    )
    assert "16x16" in told(lambda: s3d(clip(1, 8, 3, 16, 16)))


# --- image networks ---


def test_frames_are_seen_one_by_one() -> None:
    net = TinyImage(4).eval()
    x = clip(2, 3, 3, 24, 24)
    with torch.no_grad():
        torch.testing.assert_close(net(x), torch.stack([net(x[:, t : t + 1]) for t in range(3)]).mean(0))
        torch.testing.assert_close(net(x), net(x.flip(1)))
        assert not torch.allclose(net(x), net(x[:, :1]))


def test_swin_maps_are_turned() -> None:
    net = ImageBackbone("swin_tiny_patch4_window7_224", size=64).eval()
    x = clip(1, 1, 3, 64, 64)
    with torch.no_grad():
        (deep,) = net.maps(x)
        turned = net.net(x[:, 0])[-1]
    assert turned.shape == (1, 2, 2, 768)  # timm's order: the negative control
    assert torch.equal(deep[0, :, 0], turned[0].permute(2, 0, 1))


def test_model_arguments_reach_timm() -> None:
    same = ImageBackbone("mobilenetv2_100", model_kwargs={"pad_type": "same"}).eval()
    plain = ImageBackbone("mobilenetv2_100").eval()
    plain.load_state_dict(same.state_dict())
    x = clip(1, 1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(same(x), plain(x))
    assert build(same.spec()).model_kwargs == {"pad_type": "same"}


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"name": "resnt50"}, "resnt50: timm has no such model. Close names: resnet50"),
        ({"name": "hf-hub:someone/something"}, "timm has no such model"),
        ({"name": "resnet18", "model_kwargs": {"colour": 3}}, "unexpected keyword argument 'colour'"),
        ({"name": "resnet18", "model_kwargs": {"pretrained": True}}, "model_kwargs.pretrained: is not an argument"),
        ({"name": "resnet18", "model_kwargs": {"pretrained_cfg_overlay": {}}}, "is not an argument"),
        ({"name": "resnet18", "weights": "nowhere.pth"}, "nowhere.pth: no such weights file"),
    ],
)
def test_image_mistakes_are_told_in_one_line(arguments: dict[str, Any], part: str) -> None:
    assert part in told(lambda: ImageBackbone(**arguments))


def test_unknown_video_network_names_the_closest() -> None:
    assert told(lambda: VideoBackbone("r2plus1_18")).startswith("r2plus1_18: no such video network. Did you mean")


# --- weights ---


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet18", {}),
        ("mobilenetv2_100", {"model_kwargs": {"pad_type": "same"}}),
        ("swin_tiny_patch4_window7_224", {"size": 64}),
        ("vit_tiny_patch16_224", {"size": 64}),
    ],
)
def test_weights_in_timms_layout(tmp_path: Path, name: str, arguments: dict[str, Any]) -> None:
    more = {"img_size": 64} if "size" in arguments else arguments.get("model_kwargs", {})
    torch.manual_seed(5)
    model = timm.create_model(name, pretrained=False, num_classes=7, **more)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    torch.manual_seed(6)
    net = ImageBackbone(name, weights=str(tmp_path / "w.pth"), **arguments).eval()
    torch.manual_seed(5)
    theirs = timm.create_model(name, pretrained=False, num_classes=7, features_only=False, **more).eval()
    x = clip(2, 1, 3, 64, 64)
    with torch.no_grad():
        deep = theirs.forward_intermediates(x[:, 0], indices=1, intermediates_only=True, norm=False)[-1]
        torch.testing.assert_close(net.maps(x)[0][:, :, 0], deep)
        other = ImageBackbone(name, **arguments).eval()
        assert not torch.allclose(other.maps(x)[0][:, :, 0], deep)
    assert net.weights is not None
    assert net.spec()["init_args"]["weights"] is None  # a checkpoint must not need the file


@pytest.mark.real
def test_a_real_teacher_loads() -> None:
    root = Path(os.environ.get("VSSL_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
    file = root / "teachers" / "mobilenetv2_100_imagenet.pth"
    if not file.is_file():
        pytest.skip(f"no {file.name} under VSSL_REAL_DATA")
    arguments = {"mean": [0.5] * 3, "std": [0.5] * 3, "model_kwargs": {"pad_type": "same"}}
    net = ImageBackbone("mobilenetv2_100", weights=str(file), **arguments)
    state = torch.load(file, weights_only=True)
    assert torch.equal(net.net.conv_stem.weight, state["conv_stem.weight"])
    assert net.dim == 320


def test_weights_for_chosen_scales(tmp_path: Path) -> None:
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "w.pth")
    net = ImageBackbone("resnet18", weights=str(tmp_path / "w.pth"), model_kwargs={"out_indices": [2, 3]})
    assert net.map_dims == (128, 256)
    assert net(clip(1, 1, 3, 32, 32)).shape == (1, 256)


def test_weights_leave_the_random_numbers_alone(tmp_path: Path) -> None:
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "w.pth")
    after = []
    for weights in (None, str(tmp_path / "w.pth")):
        torch.manual_seed(0)
        ImageBackbone("resnet18", weights=weights)
        after.append(torch.rand(3))
    assert torch.equal(*after)


def test_video_weights_in_the_librarys_layout_wrapped_or_not(tmp_path: Path) -> None:
    torch.manual_seed(5)
    model = torchvision_video.mc3_18(weights=None, num_classes=3)
    torch.save(model.state_dict(), tmp_path / "plain.pth")
    torch.save({"model_state": model.state_dict(), "epoch": 3}, tmp_path / "wrapped.pth")
    nets = [VideoBackbone("mc3_18", weights=str(tmp_path / f)) for f in ("plain.pth", "wrapped.pth")]
    for net in nets:
        assert torch.equal(net.scales[4][0][1].conv2[0].weight, model.layer4[1].conv2[0].weight)
        assert torch.equal(net.scales[0][0][0].weight, model.stem[0].weight)
        assert net.spec()["init_args"]["weights"] is None


def test_weights_saved_from_the_encoder_itself(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    net = VideoBackbone("x3d_xs")
    save_file(net.state_dict(), tmp_path / "own.safetensors")
    twin = VideoBackbone("x3d_xs", weights=str(tmp_path / "own.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), twin.state_dict().values(), strict=True))


def test_weights_are_strict(tmp_path: Path) -> None:
    state = timm.create_model("resnet18").state_dict()
    file = tmp_path / "w.pth"

    def refusal(content: object) -> str:
        torch.save(content, file)
        return told(lambda: ImageBackbone("resnet18", weights=str(file)))

    missing = {k: v for k, v in state.items() if k != "layer2.0.conv1.weight"}
    assert "1 missing (layer2.0.conv1.weight)" in refusal(missing)
    assert "1 unknown (extra)" in refusal({**state, "extra": torch.zeros(1)})
    assert "1 of another shape (conv1.weight)" in refusal({**state, "conv1.weight": torch.zeros(64, 1, 7, 7)})
    assert "not a state dict" in refusal([1, 2])
    assert "can run code" in refusal(timm.create_model("resnet18"))  # a pickled module is code
    file.write_bytes(b"not a torch file")
    assert "not a readable checkpoint" in told(lambda: ImageBackbone("resnet18", weights=str(file)))


# --- tiny networks ---


def test_difference_stem_sees_change_only() -> None:
    net = TinyVideo(16, stem="difference")
    conv = net.stages[0][0][0]
    weight = conv.weight.detach()
    assert torch.equal(weight[:12, :, 2], -weight[:12, :, 0])
    assert not weight[:12, :, 1].any()
    assert weight[12:, :, 1].any()
    still = clip(1, 1, 3, 20, 20).expand(1, 5, 3, 20, 20).transpose(1, 2)
    with torch.no_grad():
        out = conv(still)[:, :, 1:-1]  # the clip's ends are padded with black
    assert out[:, :12].abs().max() < 1e-5
    assert out[:, 12:].abs().max() > 1e-2
    assert conv.weight.requires_grad
    ordinary = TinyVideo(16).stages[0][0][0].weight
    assert not torch.equal(ordinary[:12, :, 2], -ordinary[:12, :, 0])


def test_tiny_strides() -> None:
    x = clip(1, 8, 3, 44, 44)
    sides = {
        "full": (TinyVideo(4), [(8, 22), (8, 11), (8, 6)]),
        "temporal": (TinyVideo(4, temporal_stride=2), [(8, 22), (4, 11), (2, 6)]),
        "light": (TinyVideo(4, light=True), [(8, 22), (4, 11), (2, 6)]),
        "image": (TinyImage(4), [(8, 22), (8, 11), (8, 6), (8, 3)]),
    }
    for net, expected in sides.values():
        maps = net.maps(x, last=len(expected))
        assert [(scale.shape[2], scale.shape[3]) for scale in maps] == expected


def test_tiny_widths_are_checked() -> None:
    assert "each of the 3 stages" in told(lambda: TinyVideo([4, 8]))
    assert "positive width" in told(lambda: TinyImage(0))


# --- baselines ---


def test_pixel_histogram_counts() -> None:
    x = torch.zeros(1, 2, 3, 4, 4)
    x[:, :, 0] = 1.0  # red: last bin, both frames
    x[:, 1, 1] = 0.5  # green: first bin, then the third of four
    x[:, :, 2, 0] = 0.3  # blue: a quarter of the pixels in the second bin, else the first
    net = PixelHistogram(bins=4)
    shares = net.maps(x)[0][0, :, :, 0, 0].T.view(2, 3, 4) ** 3  # (frame, channel, bin)
    blue = [0.75, 0.25, 0, 0]
    expected = torch.tensor([[[0, 0, 0, 1.0], [1, 0, 0, 0], blue], [[0, 0, 0, 1.0], [0, 0, 1, 0], blue]])
    torch.testing.assert_close(shares, expected)
    torch.testing.assert_close(net(x)[0], net.maps(x)[0][0, :, :, 0, 0].mean(1))
    random_shares = PixelHistogram(bins=5).maps(clip(3, 2, 3, 7, 7))[0] ** 3
    torch.testing.assert_close(random_shares.view(3, 3, 5, 2).sum(2), torch.ones(3, 3, 2))


def test_frame_difference_ranks_speed() -> None:
    def moving(step: int) -> Tensor:
        frames = torch.zeros(8, 3, 48, 48)
        for t in range(8):
            frames[t, :, 16:32, 4 + step * t : 12 + step * t] = 1.0
        return frames

    features = FrameDifference()(torch.stack([moving(step) for step in (1, 1, 2, 4)]))
    unit = nn.functional.normalize(features, dim=1)
    same, near, far = (unit[1:] @ unit[0]).tolist()
    assert same == pytest.approx(1)
    assert same > near > far
    assert near < 0.9


def test_frame_difference_of_what_does_not_move() -> None:
    net = FrameDifference(bins=8)
    one, two = net(clip(2, 1, 3, 8, 8)), net(clip(1, 1, 3, 8, 8).expand(1, 6, 3, 8, 8))
    assert one.isfinite().all()
    assert torch.equal(one[0], two[0])
    assert one[0].view(3, 8).argmax(1).tolist() == [0, 0, 0]


# --- catalog and registry ---


@pytest.mark.parametrize(
    ("name", "init_args"),
    [
        ("vssl.backbones.TinyVideo", {"width": [4, 6, 8], "stem": "difference", "light": True}),
        ("vssl.backbones.TinyImage", {"width": 4}),
        ("vssl.backbones.ImageBackbone", {"name": "resnet18", "mean": [0.5, 0.5, 0.5], "model_kwargs": {"depth": 1}}),
        ("vssl.backbones.VideoBackbone", {"name": "r3d_18", "frames": 8}),
    ],
)
def test_config_files_can_name_it(name: str, init_args: dict[str, Any]) -> None:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--net", type=Backbone)
    parsed = parser.parse_object({"net": {"class_path": name, "init_args": init_args}}).net
    assert {key: parsed.init_args[key] for key in init_args} == init_args
    assert parsed.class_path in registered()


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys, vssl.backbones, vssl.backbones.catalog as c; assert len(c.available()) == 7; "
        "print(sorted({'torch', 'timm', 'torchvision', 'numpy', 'jaxtyping'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_resolve() -> None:
    for name in vssl.backbones.__all__:
        assert getattr(vssl.backbones, name) is not None
    for entry in catalog.available():
        assert getattr(vssl.backbones, entry.name) in registered().values()
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = vssl.backbones.nothing_here


def test_build_refuses_what_is_not_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outsider_net.py").write_text(
        "from vssl.backbones import TinyImage\nclass Outsider(TinyImage):\n    pass\nvalue = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    spec = {"class_path": "outsider_net.Outsider", "init_args": {"width": 4}}
    line = told(lambda: build(spec))
    assert line.startswith("outsider_net.Outsider: no registered encoder")
    assert "--trust-imports" in line
    assert "outsider_net" not in sys.modules  # nothing was imported from the spec
    assert type(build(spec, trust_imports=True)).__name__ == "Outsider"
    assert "subclass" in told(lambda: build({"class_path": "outsider_net.value"}, trust_imports=True))
    assert "cannot be imported" in told(lambda: build({"class_path": "outsider_net.Nobody"}, trust_imports=True))
    assert "cannot be imported" in told(lambda: build({"class_path": "Nobody"}, trust_imports=True))


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ({}, "class_path"),
        ({"class_path": "os.system", "init_args": {"command": "true"}}, "os.system: no registered encoder"),
        ({"class_path": "vssl.backbones.TinyImage", "init_args": {"width": torch.zeros(1)}}, "plain values only"),
        ({"class_path": "vssl.backbones.TinyImage", "init_args": {"widht": 3}}, "unexpected keyword argument 'widht'"),
        ({"class_path": "vssl.backbones.TinyImage", "extra": 1}, "plain values only"),
    ],
)
def test_build_refuses_what_is_no_spec(spec: dict[str, Any], part: str) -> None:
    assert part in told(lambda: build(spec))


def test_plugins_register_and_broken_ones_break_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "guest_nets.py").write_text(
        "from vssl.backbones import TinyImage\nclass Guest(TinyImage):\n    pass\nnumber = 3\n"
    )
    info = tmp_path / "guest-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guest\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[vssl.backbones]\nguest = guest_nets:Guest\nnumber = guest_nets:number\nlost = no_such_module:Net\n"
    )
    assert "guest_nets.Guest" not in registered()
    monkeypatch.syspath_prepend(tmp_path)
    net = build({"class_path": "guest_nets.Guest", "init_args": {"width": 4}})
    assert type(net).__name__ == "Guest"
    assert build(net.spec()).width == [4, 8, 16, 32]
    assert "lost of guest 1.0" in capsys.readouterr().err
    assert "guest_nets.number" not in registered()
    assert "no registered" in told(lambda: build({"class_path": "no_such_module.Net"}))
