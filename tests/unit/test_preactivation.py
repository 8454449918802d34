"""Pre-activation networks: timm's feature maps end before the last norm and ReLU, ours after it."""

import pytest
import timm
import torch

from vssl.backbones.image import ImageBackbone

SMALL = {"layers": [1, 1, 1, 1]}


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [("resnetv2_50", SMALL), ("resnetv2_50", {**SMALL, "width_factor": 3}), ("resnetv2_50x1_bit", {})],
)
def test_features_are_those_of_the_whole_network(name, kwargs, tmp_path):
    whole = timm.create_model(name, num_classes=0, **kwargs).eval()
    for parameter in whole.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    torch.save(whole.state_dict(), tmp_path / "w.pth")
    ours = ImageBackbone(name, size=64, model_kwargs=kwargs, weights=str(tmp_path / "w.pth")).eval()
    x = torch.randn(2, 1, 3, 64, 64)
    with torch.no_grad():
        expected = whole(x[:, 0])
        torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-5)
        assert ours.maps(x)[-1].min() >= 0
        bare = ours.net(x[:, 0])[-1].mean((2, 3))
    assert not torch.allclose(bare, expected, atol=1e-2)
    assert ours.dim == 2048 * kwargs.get("width_factor", 1)
    assert ours.spec()["init_args"]["model_kwargs"] == kwargs


def test_a_network_cut_short_has_no_last_norm():
    cut = ImageBackbone("resnetv2_50", size=64, model_kwargs={**SMALL, "out_indices": [2, 3]})
    assert cut.final_norm is None
    assert ImageBackbone("resnet18").final_norm is None
