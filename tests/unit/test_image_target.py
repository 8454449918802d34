"""`ImageTarget`: files and their faults, the card, frozen for ever, random control, inflation."""

import hashlib

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from support.runs import image_target
from vssl.backbones import ImageTarget, TinyVideo, VideoBackbone
from vssl.backbones.inflate import fill, inflate, two_dimensional
from vssl.errors import UserError

HALF = {"mean": [0.5] * 3, "std": [0.5] * 3}


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    """A MobileNetV2 with the padding of TensorFlow, calibrated, as a file."""
    folder = tmp_path_factory.mktemp("teacher")
    net = ImageTarget("mobilenetv2_100", weights="random", model_kwargs={"pad_type": "same"}, size=64, **HALF).net
    torch.save(net.state_dict(), folder / "net.pth")
    save_file(net.state_dict(), folder / "net.safetensors")
    return folder / "net.pth", net


def frames(n=2, size=64, seed=0):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_features_are_the_networks_pooled_ones(mobilenet):
    file, net = mobilenet
    for path in (file, file.with_suffix(".safetensors")):
        target = ImageTarget("mobilenetv2_100", weights=str(path), model_kwargs={"pad_type": "same"}, size=64, **HALF)
        assert target.dim == 1280
        assert target.digest == hashlib.sha256(path.read_bytes()).hexdigest()
        x = frames()
        with torch.no_grad():
            expected = net.forward_head(net.forward_features(x), pre_logits=True)
        torch.testing.assert_close(target.frames(x), expected, rtol=1e-4, atol=1e-5)
        assert not target.frames(x).requires_grad
        clip = target(x.unsqueeze(0))
        unit = expected / expected.norm(dim=-1, keepdim=True)
        torch.testing.assert_close(clip[0], unit.mean(0), rtol=1e-4, atol=1e-5)


def test_without_the_padding_it_loads_and_is_wrong(mobilenet):
    file, _ = mobilenet
    right = ImageTarget("mobilenetv2_100", weights=str(file), model_kwargs={"pad_type": "same"}, size=64, **HALF)
    wrong = ImageTarget("mobilenetv2_100", weights=str(file), size=64, **HALF)
    a, b = right.frames(frames()), wrong.frames(frames())
    assert ((a - b).norm() / a.norm()).item() > 0.1
    with pytest.raises(TypeError, match="mean"):
        ImageTarget("mobilenetv2_100", weights=str(file))  # the card of a file is not guessed


def test_faults_are_told_in_one_line(mobilenet, tmp_path):
    file, net = mobilenet
    make = lambda name="mobilenetv2_100", **given: ImageTarget(name, **HALF | {"weights": str(file)} | given)
    with pytest.raises(UserError, match=r"nowhere.pth: no such weights file. Weights are local files"):
        make(weights="nowhere.pth")
    with pytest.raises(UserError, match="does not fit this network"):
        make("resnet18")
    with pytest.raises(UserError, match="mobilenetv9: timm has no such model"):
        make("mobilenetv9")
    with pytest.raises(UserError, match=r"model_kwargs.pretrained: is not an argument"):
        make(model_kwargs={"pretrained": True})
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert make(sha256=digest).digest == digest
    with pytest.raises(UserError, match=f"has SHA-256 {digest}, not 0000"):
        make(sha256="0000")
    whole = net.state_dict()
    torch.save({k: v for k, v in whole.items() if not k.startswith("classifier")}, tmp_path / "headless.pth")
    assert make(weights=str(tmp_path / "headless.pth"), model_kwargs={"pad_type": "same"}).dim == 1280
    torch.save({k: v for k, v in whole.items() if not k.startswith("conv_head")}, tmp_path / "short.pth")
    with pytest.raises(UserError, match="1 missing"):
        make(weights=str(tmp_path / "short.pth"))


def test_clip_towers_end_in_their_projection():
    given = {"weights": "random", "calibrate": False, **HALF}
    before = ImageTarget("resnet50_clip.openai", pre_proj=True, **given)
    after = ImageTarget("resnet50_clip.openai", **given)
    assert (before.dim, after.dim) == (2048, 1024)
    with torch.no_grad():
        x = frames(1, 224)
        torch.testing.assert_close(after.net.head.proj(before.frames(x)), after.frames(x), rtol=1e-3, atol=1e-4)
    # without the tag timm's card is that of a classifier
    tagged = "vit_medium_patch32_clip_224.tinyclip_laion400m"
    assert ImageTarget("vit_tiny_patch16_224", **given).dim == 192
    assert ImageTarget(tagged, **given).dim == 512


def test_it_is_frozen_for_ever():
    target = image_target()
    target.train().requires_grad_(True)
    assert not target.training
    assert list(target.parameters()) == []
    assert dict(target.state_dict()) == {}
    assert not any(m.training for m in target.net.modules())
    assert not any(p.requires_grad for p in target.net.parameters())
    assert target.double().net.conv1[0].weight.dtype == torch.float64


def test_a_random_target_has_its_own_seed_and_leaves_the_global_one_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = image_target(seed=1)
    assert torch.equal(torch.rand(3), expected)
    x = frames(4, 32)
    assert torch.equal(one.frames(x), image_target(seed=1).frames(x))
    assert not torch.allclose(one.frames(x), image_target(seed=2).frames(x))
    assert one.digest != image_target(seed=2).digest
    assert one.title == "test_resnet (random 1)"
    # the state of a fresh network: variances of 1; calibrated ones are those of its activations
    norms = lambda t: [m for m in t.net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all(float(n.running_var.mean()) != 1.0 for n in norms(one))
    assert all(float(n.running_var.mean()) == 1.0 for n in norms(image_target(calibrate=False)))


def test_other_sizes_are_resized():
    target = image_target()
    small = frames(2, 16)
    large = torch.nn.functional.interpolate(small, (32, 32), mode="bilinear")
    torch.testing.assert_close(target(small[:, None]), target(large[:, None]), rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------------------------------------------------- inflation
@pytest.fixture(scope="module")
def inflated(tmp_path_factory):
    torch.manual_seed(0)
    flat = timm.create_model("resnet50", pretrained=False)
    for module in flat.modules():  # statistics that are not those of a fresh network
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2.0)
    file = tmp_path_factory.mktemp("flat") / "resnet50.pth"
    torch.save(flat.state_dict(), file)
    deep = VideoBackbone("slow_r50")
    inflate(deep, str(file))
    return flat.eval(), deep.eval()


def test_a_still_clip_has_the_maps_of_the_image_network(inflated):
    flat, deep = inflated
    for module in deep.modules():  # no ends of the clip: time wraps
        if isinstance(module, torch.nn.Conv3d) and module.kernel_size[0] > 1:
            module.padding_mode = "circular"
            module._reversed_padding_repeated_twice = [p for p in reversed(module.padding) for _ in range(2)]
    image = frames(1, 64)
    with torch.no_grad():
        expected, (maps,) = flat.forward_features(image), deep.maps(image[:, None].expand(-1, 4, -1, -1, -1))
    assert maps.shape == (1, 2048, 4, 2, 2)
    for t in range(4):
        torch.testing.assert_close(maps[:, :, t], expected, rtol=1e-3, atol=1e-4)
    assert expected.abs().max() > 0.1


def test_every_tensor_has_its_source(inflated):
    flat, deep = inflated
    names = [two_dimensional(key) for key in deep.state_dict()]
    assert sorted(names) == sorted(k for k in flat.state_dict() if not k.startswith("fc."))
    before = {k: v.clone() for k, v in deep.state_dict().items()}
    with pytest.raises(UserError, match=r"conv1.weight is missing"):
        fill(deep, {}, "empty")
    assert all(torch.equal(v, before[k]) for k, v in deep.state_dict().items())
    taps = deep.state_dict()["scales.4.0.res_blocks.0.branch2.conv_a.weight"]
    np.testing.assert_allclose(
        taps.sum(2).numpy(), flat.state_dict()["layer4.0.conv1.weight"].numpy(), rtol=1e-5, atol=1e-6
    )


def test_only_slow_r50_is_inflated():
    with pytest.raises(UserError, match="init=inflate with TinyVideo: only slow_r50"):
        inflate(TinyVideo(4), "any.pth")
