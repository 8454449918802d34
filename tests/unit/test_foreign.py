"""Weights of other code bases: features equal those code bases' networks, and what does not fit is refused."""

import json
from pathlib import Path

import pytest
import timm
import torch
import torchvision.models.video as torchvision_video

from support import official
from support.official import prefixed
from vssl.backbones import ImageBackbone, TinyVideo, VideoBackbone
from vssl.errors import UserError
from vssl.foreign.layouts import LAYOUTS
from vssl.foreign.match import match, read

FILE = Path("theirs.pth")
CLIP = torch.rand(1, 3, 16, 32, 32, generator=torch.Generator().manual_seed(5))


def matched(tensors, backbone, layout, network, key_map=None):
    rules = LAYOUTS[layout]
    return match(FILE, tensors, backbone, layout=rules, network=network, key_map=key_map or {})


def features(backbone, found):
    backbone.load_state_dict(found.tensors)
    with torch.inference_mode():
        return backbone.eval()(CLIP.transpose(1, 2))


@pytest.fixture(scope="module")
def r21d():
    return official.residual_state(factored=True)


@pytest.fixture(scope="module")
def s3d():
    return official.s3d_state()


def heads(**widths):
    state = official.State(9)
    for name, (after, before) in widths.items():
        state.linear(name, after, before)
    return state


def auxskd_phase_1(net):
    """Student and teacher are wrapped one by one."""
    net = net | heads(linear=(128, 512))
    predictor = heads(**{"0": (8, 8), "3": (8, 8)})
    queue = {"queue": torch.rand(4, 128), "queue_ptr": torch.zeros(1)}
    teacher = {name: tensor + 1 for name, tensor in list(net.items())[:9]}
    both = prefixed(net, "encoder_q.module.") | prefixed(teacher, "encoder_k.module.")
    return both | prefixed(predictor, "predict_q_c.module.") | queue


def auxskd_phase_2(net):
    return prefixed(net | heads(linear=(4, 512), linear_segment=(4, 512)), "module.")


def videopace(net):
    return net | heads(linear=(4, 512))


def vcop(net):
    return prefixed(net, "base_network.") | heads(fc7=(512, 1024), fc8=(6, 1536))


def vcop_fine_tuned(net):
    return net | heads(linear=(101, 512))


def rspnet(net):
    net = prefixed(net | heads(linear=(1, 512)), "encoder.") | heads(**{"fc1.2": (128, 512), "fc2.2": (128, 512)})
    teacher = {name: tensor + 1 for name, tensor in list(net.items())[:9]}
    return prefixed(net, "encoder_q.") | prefixed(teacher, "encoder_k.") | {"queue": torch.rand(128, 4)}


LAYOUT_OF = {
    auxskd_phase_1: "auxskd",
    auxskd_phase_2: "auxskd",
    videopace: "videopace",
    vcop: "vcop",
    vcop_fine_tuned: "vcop",
    rspnet: "rspnet",
}


@pytest.mark.parametrize("wrap", LAYOUT_OF, ids=lambda wrap: wrap.__name__)
def test_r2plus1d_of_every_layout_computes_what_theirs_does(wrap, r21d):
    file, backbone = wrap(r21d), VideoBackbone("r2plus1d_vcop")
    found = matched(file, backbone, LAYOUT_OF[wrap], "r2plus1d_vcop")
    assert len(found.kept) == len(r21d)
    assert len(found.dropped) == len(file) - len(r21d)
    assert found.filled == []
    torch.testing.assert_close(features(backbone, found), official.residual(r21d, CLIP, factored=True))


def test_r3d_and_c3d_compute_what_theirs_do():
    state = official.residual_state(factored=False)
    backbone = VideoBackbone("r3d_vcop")
    ours = features(backbone, matched(vcop(state), backbone, "vcop", "r3d_vcop"))
    torch.testing.assert_close(ours, official.residual(state, CLIP, factored=False))
    state = official.c3d_state()
    backbone = VideoBackbone("c3d_bn")
    ours = features(backbone, matched(rspnet(state), backbone, "rspnet", "c3d_bn"))
    torch.testing.assert_close(ours, official.c3d(state, CLIP))


def coclr(net):
    names = [name for name in net if name.startswith("Conv_1a.")]
    net = net | {name.replace("Conv_1a", "block1.0"): net[name] for name in names}
    head = {"encoder_q.2.weight": torch.rand(4, 4, 1, 1, 1), "encoder_q.4.bias": torch.rand(4)}
    return prefixed(net, "encoder_q.0.") | head | {"encoder_k.0.Conv_1a.conv1.weight": torch.rand(1), "queue": CLIP}


def test_s3d_of_coclr_computes_what_theirs_does(s3d):
    backbone = VideoBackbone("s3d", norm_eps=1e-5)
    found = matched(coclr(s3d), backbone, "coclr", "s3d")
    expected = official.s3d(s3d, CLIP)
    torch.testing.assert_close(features(backbone, found), expected)
    with pytest.raises(AssertionError):  # torchvision's epsilon is another network
        torch.testing.assert_close(features(VideoBackbone("s3d"), found), expected)
    fine_tuned = prefixed(s3d, "backbone.") | heads(**{"final_fc.1": (101, 1024)})
    assert matched(fine_tuned, backbone, "coclr", "s3d").tensors.keys() == found.tensors.keys()


def test_a_layout_brings_its_encoders_settings():
    assert LAYOUTS["coclr"].init_args == {"norm_eps": 1e-5}
    assert {name: layout.card.get("color") for name, layout in LAYOUTS.items() if layout.card} == {
        "vcop": "rgb",
        "videopace": "bgr",
        "auxskd": "bgr",
        "rspnet": "rgb",
        "coclr": "rgb",
    }


def test_torchvision_and_timm_under_their_own_names():
    net = torchvision_video.s3d(weights=None).eval()
    backbone = VideoBackbone("s3d")
    found = matched(prefixed(net.state_dict(), "module."), backbone, "torchvision", "s3d")
    assert set(found.dropped.values()) == {"head"}
    with torch.inference_mode():
        torch.testing.assert_close(features(backbone, found), net.features(CLIP).mean(dim=(2, 3, 4)))
    image = timm.create_model("resnet10t", pretrained=False).eval()
    encoder = ImageBackbone("resnet10t", size=32)
    found = matched(prefixed(image.state_dict(), "encoder_q."), encoder, "timm", "resnet10t")
    with torch.inference_mode():
        frames = image.forward_features(CLIP[0].transpose(0, 1)).mean(dim=(2, 3))
    torch.testing.assert_close(features(encoder, found), frames.mean(dim=0, keepdim=True))


def test_a_key_map_renames_and_drops_and_the_first_that_fits_decides():
    encoder = TinyVideo(4)
    own = encoder.state_dict()
    file = {name.replace("stages.0.", "trunk.first.").replace("stages.", "trunk."): t for name, t in own.items()}
    file |= {"trunk.extra.weight": torch.ones(1), "head.weight": torch.ones(1)}
    map_ = {"trunk.first.": "stages.0.", "trunk.extra.": None, "head": None, "trunk.": "stages."}
    found = matched(file, encoder, "plain", "TinyVideo", map_)
    assert found.tensors.keys() == own.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in own.items())
    assert found.dropped == dict.fromkeys(("trunk.extra.weight", "head.weight"), "dropped by the key map")
    backwards = dict(reversed(map_.items()))
    with pytest.raises(UserError, match=r"missing"):
        matched(file, encoder, "plain", "TinyVideo", backwards)
    twice = file | {"again.0.0.weight": own["stages.0.0.0.weight"]}
    with pytest.raises(UserError, match=r"two of its tensors are the encoder's stages\.0\.0\.0\.weight"):
        matched(twice, encoder, "plain", "TinyVideo", {"again.": "stages.0."} | map_)


def test_half_precision_and_files_without_step_counters():
    encoder = TinyVideo(4)
    own = {k: v for k, v in encoder.state_dict().items() if not k.endswith("num_batches_tracked")}
    found = matched({k: v.half() for k, v in own.items()}, encoder, "plain", "TinyVideo")
    assert len(found.filled) == len(encoder.state_dict()) - len(own) > 0
    assert {t.dtype for n, t in found.tensors.items() if n not in found.filled} == {torch.float32}


def test_what_does_not_fit_is_refused_with_counts_and_names(r21d):
    backbone = VideoBackbone("r2plus1d_vcop")

    def said(change):
        file = prefixed(r21d, "base_network.")
        change(file)
        with pytest.raises(UserError) as caught:
            matched(file, backbone, "vcop", "r2plus1d_vcop")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    missing = said(lambda f: f.pop("base_network.conv3.block1.conv1.bn.running_var"))
    assert "1 missing (scales.2.0.main.0.1.running_var)" in missing
    deeper = said(lambda f: f.update({"base_network.conv3.blocks.0.bn1.weight": torch.ones(128)}))
    assert "1 unknown (base_network.conv3.blocks.0.bn1.weight)" in deeper
    shape = said(lambda f: f.update({"base_network.bn1.weight": torch.ones(32)}))
    assert "1 of another shape (scales.0.1.weight)" in shape
    other = said(lambda f: [f.pop(name) for name in list(f) if "temporal_conv" in name])
    assert "missing" in other


def test_what_is_read_from_a_file(tmp_path):
    state = {"conv.weight": torch.ones(2)}
    for content, arch in (
        (state, None),
        ({"state_dict": state, "epoch": 3, "opt_dict": {"lr": [0.1]}}, None),
        ({"model": state, "arch": "c3d", "best_loss": 0.5}, "c3d"),
    ):
        torch.save(content, tmp_path / "a.pth")
        tensors, found = read(tmp_path / "a.pth")
        assert tensors.keys() == state.keys()
        assert found == arch
    for content in ({}, {"state_dict": {}}, [torch.ones(1)], {"a": torch.ones(1), "b": 3}):
        torch.save(content, tmp_path / "a.pth")
        with pytest.raises(UserError, match="holds no state dict of tensors"):
            read(tmp_path / "a.pth")
    (tmp_path / "a.json").write_text(json.dumps({"a": 1}))
    with pytest.raises(UserError, match="not a readable checkpoint"):
        read(tmp_path / "a.json")
