"""The small networks of VCOP's line of work against the numbers of auxskd.md 4.1, 9 and 10; S3D-G's gates; MViT."""

from math import prod

import pytest
import torch
from torch import Tensor, nn

from vssl.backbones import VideoBackbone
from vssl.backbones.video import _Gate, _trunk

# (mean over both samples, length of sample 0, its first four entries), each network's backbone in train mode
PARITY = {
    "r2plus1d_vcop": (4.92007487e-01, 1.06446571e01, (0.527357509, 0.539985564, 0.535359481, 0.514587761)),
    "r3d_vcop": (5.08462568e-01, 9.72818218e00, (0.432402465, 0.456431210, 0.376363315, 0.434086904)),
    "c3d_bn": (3.81209971e-01, 6.49982781e00, (0.232639959, 0.269059948, 0.339947798, 0.264923615)),
}


def num_parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@torch.no_grad()
def fill(net: VideoBackbone) -> VideoBackbone:
    """Element k of every weight is sin(k + 1) 2 / sqrt(fan_in), of every bias 0.01 sin(k + 1)."""
    for module in net.modules():
        if isinstance(module, nn.Conv3d):
            waves = torch.arange(1, module.weight.numel() + 1, dtype=torch.float64).sin()
            module.weight.copy_((waves * 2 / prod(module.weight.shape[1:]) ** 0.5).view_as(module.weight))
            if module.bias is not None:
                module.bias.copy_(0.01 * torch.arange(1, len(module.bias) + 1, dtype=torch.float64).sin())
    return net


def wave(frames: int = 16, size: int = 112) -> Tensor:
    """(2, 3, T, H, W): element k is sin(0.001 k)."""
    return (
        (0.001 * torch.arange(2 * 3 * frames * size * size, dtype=torch.float64)).sin().view(2, 3, frames, size, size)
    )


def agrees(features: Tensor, name: str) -> bool:
    mean, length, first = PARITY[name]
    ours = torch.stack([features.mean(), features[0].norm(), *features[0, :4]])
    return torch.allclose(ours, torch.tensor([mean, length, *first], dtype=torch.float64), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("name", "backbone", "with_linear"),
    [
        ("r2plus1d_vcop", 14_365_303, 14_430_967),
        ("r3d_vcop", 14_361_792, 14_427_456),
        ("c3d_bn", 27_661_440, 27_727_104),
    ],
)
def test_parameter_counts(name: str, backbone: int, with_linear: int) -> None:
    net = VideoBackbone(name)
    assert num_parameters(net) == backbone
    assert num_parameters(net) + num_parameters(nn.Linear(net.dim, 128)) == with_linear
    assert net.input == (112, 16, 1, (0.0,) * 3, (1.0,) * 3, "rgb")


def test_widths_between_space_and_time() -> None:
    convs = [m for m in VideoBackbone("r2plus1d_vcop").modules() if isinstance(m, nn.Conv3d)]
    middle = [conv.out_channels for conv in convs if conv.kernel_size[0] == 1 and conv.kernel_size[1] > 1]
    assert middle == [83, 144, 144, 230, 288, 460, 576, 921, 1152]
    assert len(convs) == 2 * (9 + 3)
    assert not any(conv.bias is not None for conv in convs)


def test_torchvisions_18_layers_are_another_network() -> None:
    assert num_parameters(VideoBackbone("r2plus1d_18")) != 14_365_303


@pytest.mark.slow
@pytest.mark.parametrize("name", PARITY)
def test_features_are_the_official_networks(name: str) -> None:
    net = fill(VideoBackbone(name).double()).train()
    with torch.no_grad():
        (deep,) = net.maps(wave().transpose(1, 2))
    assert deep.shape == (2, 512, 2, 7, 7)
    features = deep.mean(dim=(2, 3, 4))
    assert agrees(features, name)
    assert not any(agrees(features, other) for other in PARITY if other != name)


@pytest.mark.slow
def test_torchvisions_18_layers_have_other_features() -> None:
    net = fill(VideoBackbone("r2plus1d_18").double()).train()
    with torch.no_grad():
        assert not agrees(net(wave().transpose(1, 2)), "r2plus1d_vcop")


def test_every_separable_convolution_of_s3dg_is_gated() -> None:
    torch.manual_seed(0)
    gated, plain = VideoBackbone("s3dg"), VideoBackbone("s3d")
    gates = [m for m in gated.modules() if isinstance(m, _Gate)]
    widths = [gate.linear.out_features for gate in gates]
    assert len(gates) == 2 + 2 * 9  # stem, second convolution, two branches in each of nine blocks
    assert num_parameters(gated) == num_parameters(plain) + sum(w * w + w for w in widths)
    x = torch.rand(2, 64, 3, 4, 4)
    gate = gates[0]
    for row in range(2):
        share = torch.sigmoid(gate.linear.weight @ x[row].mean(dim=(1, 2, 3)) + gate.linear.bias)
        torch.testing.assert_close(gate(x)[row], x[row] * share[:, None, None, None])
    assert not torch.allclose(gate(x), x * gate.linear(x.mean(dim=(2, 3, 4))).sigmoid()[:1, :, None, None, None])


@pytest.mark.slow
def test_mvit_is_the_librarys_network_on_maps() -> None:
    torch.manual_seed(0)
    library, scales = _trunk("mvit_base_16x4")
    library.eval()
    library.head = None
    positions = library.cls_positional_encoding
    for position in (positions.pos_embed_spatial, positions.pos_embed_temporal):
        nn.init.normal_(position)
    trunk = nn.Sequential(*(nn.Sequential(*parts) for parts in scales))
    x = torch.rand(1, 3, 16, 224, 224)
    with torch.no_grad():
        tokens, deep = library(x), trunk(x)
        assert deep.shape == (1, 768, 8, 7, 7)
        torch.testing.assert_close(deep.flatten(2).transpose(1, 2), tokens, rtol=1e-4, atol=1e-4)
        nn.init.zeros_(positions.pos_embed_temporal)
        assert not torch.allclose(trunk(x), deep, rtol=1e-2, atol=1e-2)


@pytest.mark.slow
def test_slow_r50_keeps_its_frames() -> None:
    with torch.no_grad():
        assert VideoBackbone("slow_r50").maps(torch.rand(1, 8, 3, 224, 224))[0].shape == (1, 2048, 8, 7, 7)
