"""iBoot: the reconstruction's numbers (iboot.md 9), its checks 1-4, 9, 10 and 12, and every switch."""

import hashlib
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from support.runs import SGD, difference, iboot, iboot_centred, image_target, trained
from vssl import checkpoint
from vssl.backbones import ImageTarget, VideoBackbone
from vssl.errors import UserError
from vssl.losses import cosine_regression
from vssl.methods.byol import EmaVideo
from vssl.methods.iboot import OPTIM
from vssl.methods.sequential import encode_in_turn, without_statistics
from vssl.methods.targets import Centre, FeatureCache, Targets, aggregate, pairs
from vssl.types import Batch
from vssl.views import ClipsWithFrames

ROOT = Path(__file__).parents[3]
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def fill(shape, a, b):
    k = np.arange(np.prod(shape), dtype=np.float64)
    return torch.from_numpy(np.sin(a * k + b * k * k / 97 + 0.2).reshape(shape))


COMMON = 0.8 * fill((4, 1, 6), 0.9, 0.05).expand(4, 8, 6)
FRAMES, OTHER = fill((4, 8, 6), 0.37, 0.11) + COMMON, fill((4, 8, 6), 0.21, 0.31) + COMMON
FEATURES, WEIGHT, BIAS = fill((4, 10), 0.53, 0.07), fill((6, 10), 0.29, 0.13), 0.1 * fill((6,), 1.1, 0.0)


def noise(method, videos=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    views, at = method.recipe.views, method.views
    shape = {"clips": (at.clips, at.frames), "stills": (at.clips * at.teacher_frames, 1)}
    pixels = {
        name: torch.randint(256, (videos, *rows, 3, *[views[name].size] * 2), generator=generator, dtype=torch.uint8)
        for name, rows in shape.items()
    }
    none = torch.zeros(videos).long()
    return Batch(pixels, {}, {}, {}, none, none)


# ------------------------------------------------------------------------------------------------ check 1: the fixture
@pytest.mark.parametrize(
    ("how", "loss", "cosines", "norm"),
    [
        ("mean_unit", 2.4973841947, [-0.18026692, -0.35159046, -0.35988915, -0.10302186], 0.0850163839),
        ("mean_raw", 2.4076399904, [-0.14146959, -0.34883591, -0.24139576, -0.08357873], 0.0632567599),
        ("middle", 2.3504110477, [-0.18289771, -0.23448253, -0.06551799, -0.21792386], 0.0786952674),
    ],
)
def test_fixture(how, loss, cosines, norm):
    features = FEATURES.clone().requires_grad_()
    target = aggregate(FRAMES[:, None], how)[:, 0, 0]
    prediction = features @ WEIGHT.T + BIAS
    value = cosine_regression(prediction, target)
    value.backward()
    assert value.item() == pytest.approx(loss, rel=1e-8, abs=5e-11)
    found = (prediction * target).sum(-1) / prediction.norm(dim=-1)
    np.testing.assert_allclose(found.detach().numpy(), cosines, rtol=0, atol=1e-8)
    assert features.grad.norm().item() == pytest.approx(norm, rel=1e-8)


def test_fixture_of_both_clips():
    method = iboot()
    prediction = (FEATURES @ WEIGHT.T + BIAS)[:, None].expand(-1, 2, -1)  # both clips predict alike
    targets = torch.cat([aggregate(frames[:, None], "mean_unit") for frames in (FRAMES, OTHER)], 1)
    assert method._regress(prediction, targets).item() == pytest.approx(2.3933713470, rel=1e-8)
    one = method._regress(prediction[:, :1], targets[:, 1:])
    assert one.item() == pytest.approx(2.2893584992, rel=1e-8)


def test_the_teacher_sees_its_own_normalisation():
    """Pixels 0 in red, 1 in blue, as the fixture; 0.5 is no grey level, so 128 / 255 in green."""
    target = image_target(mean=CLIP_MEAN, std=CLIP_STD)
    method = iboot(target=target)
    batch = noise(method)
    pixels = torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1)
    batch.views["stills"].copy_(pixels.expand_as(batch.views["stills"]))
    seen = method.view(batch, "stills")[0, 0, 0, :, 0, 0].tolist()
    assert seen[0] == pytest.approx(-1.79226253, rel=1e-6)
    assert seen[1] == pytest.approx((128 / 255 - CLIP_MEAN[1]) / CLIP_STD[1], rel=1e-5)
    assert seen[2] == pytest.approx(2.14589699, rel=1e-6)
    exact = method._normalised(pixels.expand(1, 3, 32, 32))
    assert exact[0, :, 0, 0].tolist() == pytest.approx(seen, rel=1e-6)  # the cache's path

    right = method.image_targets(batch := noise(method))
    loader = (batch.views["stills"].flatten(0, 2) / 255 - 0.45) / 0.225  # the student's statistics
    wrong = aggregate(target.frames(loader).unflatten(0, (-1, 2, 2)), "mean_unit")
    by_hand = (loader * 0.225 + 0.45 - torch.tensor(CLIP_MEAN).view(3, 1, 1)) / torch.tensor(CLIP_STD).view(3, 1, 1)
    same = aggregate(target.frames(by_hand).unflatten(0, (-1, 2, 2)), "mean_unit")
    torch.testing.assert_close(right, same, rtol=1e-3, atol=1e-4)
    assert (right - wrong).norm(dim=-1).max() > 0.02


# ------------------------------------------------------------------------------------------ check 2: frozen, left out
def digest(target):
    state = target.net.state_dict().values()
    return hashlib.sha256(b"".join(v.numpy().tobytes() for v in state)).hexdigest()


class Watch(Callback):
    """What is true of the image network in the middle of a fit."""

    def on_train_batch_end(self, trainer, pl_module, *_):
        net = pl_module.target.net
        assert pl_module.training
        assert not any(m.training for m in net.modules())
        assert not any(p.requires_grad or p.grad is not None for p in net.parameters())
        moved = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
        assert moved
        assert not moved & {id(p) for p in net.parameters()}


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("teacher") / "net.pth"
    torch.save(image_target(seed=3).net.state_dict(), file)
    return file


def test_the_image_network_never_moves_and_is_loaded_from_its_file(teacher_file, toy_manifest, tmp_path):
    made = []

    def build(weights=str(teacher_file)):
        made.append(iboot_centred() if weights is None else iboot(target=image_target(weights=weights)))
        return made[-1]

    before = digest(image_target(weights=str(teacher_file)))
    saver = ModelCheckpoint(
        tmp_path, save_top_k=-1, filename="step{step}", auto_insert_metric_name=False, every_n_train_steps=1
    )
    end = trained(build, toy_manifest, steps=4, callbacks=[Watch(), saver])
    assert digest(made[-1].target) == before
    assert difference(end, trained(build, toy_manifest, steps=1)) > 1e-4

    file = tmp_path / "step2.ckpt"
    state = torch.load(file, weights_only=True)["state_dict"]
    assert not [name for name in state if name.startswith("target")]
    shapes = {tuple(v.shape) for v in image_target().net.state_dict().values() if v.ndim == 4}
    assert not [name for name, v in state.items() if tuple(v.shape) in shapes and "backbone" not in name]

    # resumed: the same losses, hence weights, with the teacher from its path
    assert difference(end, trained(build, toy_manifest, steps=4, ckpt_path=str(file))) == 0.0
    with pytest.raises(UserError, match="is not the image target of the checkpoint"):
        trained(lambda: iboot(), toy_manifest, steps=4, ckpt_path=str(file))

    # what is transferred is f alone (check 9)
    info = checkpoint.read(file)
    (name,) = info.frozen
    assert name == "ImageTarget test_resnet (net.pth)"
    assert info.budget["frozen"] == name
    backbone = checkpoint.load_backbone(file)
    assert backbone.state_dict().keys() == made[-1].backbone.state_dict().keys()
    broken = torch.load(file, weights_only=True)
    del broken["state_dict"]["backbone.stages.2.main.0.weight"]
    torch.save(broken, tmp_path / "broken.ckpt")
    with pytest.raises(UserError, match="do not fit its encoder"):
        checkpoint.load_backbone(tmp_path / "broken.ckpt")


def test_a_random_target_is_labelled(caplog):
    with caplog.at_level(logging.WARNING, logger="vssl"):
        iboot()
    assert "test_resnet (random 0) is not trained: a control, not a teacher" in caplog.text


def test_the_student_starts_alike_whatever_the_teacher():
    starts = []
    for target in (lambda: image_target(seed=0), lambda: image_target(seed=1, calibrate=False)):
        torch.manual_seed(0)
        starts.append(iboot(target=target()).state_dict())
    assert all(torch.equal(starts[0][k], starts[1][k]) for k in starts[0] if k != "_extra_state")
    assert not torch.equal(starts[0]["_extra_state"], starts[1]["_extra_state"])


# ----------------------------------------------------------------------------------------------- check 3: loss bounds
def test_bounds_of_the_loss():
    method = iboot(
        targets=Targets(centring="running"), views=ClipsWithFrames(clips=2, frames=4, stride=1, teacher_frames=2)
    )
    batch = noise(method, videos=16)
    targets = method.image_targets(batch)
    torch.testing.assert_close(targets.norm(dim=-1), torch.ones(16, 2, 1))
    assert abs(method.step(batch).loss.item() - 2) < 0.3
    own = iboot(targets=Targets(clips="own"))
    assert own._regress(5 * targets[:, :, 0], targets).item() == pytest.approx(0, abs=1e-5)
    random = torch.randn(16, 2, targets.shape[-1])
    loss = method._regress(random, targets).item()
    assert 0 < loss < 4
    assert method._regress(10 * random, targets).item() == pytest.approx(loss, abs=1e-6)


# ----------------------------------------------------------------------------------------------- check 4: frame order
@pytest.mark.parametrize("how", ["mean_unit", "mean_raw"])
def test_targets_do_not_depend_on_the_order_of_frames(how):
    shuffled = FRAMES[:, torch.randperm(8)]
    torch.testing.assert_close(aggregate(shuffled[:, None], how), aggregate(FRAMES[:, None], how))
    assert not torch.allclose(aggregate(FRAMES.flip(1)[:, None], "middle"), aggregate(FRAMES[:, None], "middle"))


def test_the_online_network_sees_time():
    net = VideoBackbone("slow_r50").eval()
    for name, parameter in net.named_parameters():  # residual branches start at zero, and with them everything temporal
        if name.endswith("norm_c.weight"):
            nn.init.ones_(parameter)
    clip = torch.rand(1, 4, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        one, other, still = net(clip), net(clip.flip(1)), net(clip[:, :1].expand(-1, 4, -1, -1, -1))
    assert ((one - other).norm() / one.norm()).item() > 1e-3
    assert ((one - still).norm() / one.norm()).item() > 1e-3


# ----------------------------------------------------------------------------- check 5, the part that needs no training
def test_cross_pairs_swapped_clips_leave_the_loss():
    assert pairs(3, "own") == ([0, 1, 2], [0, 1, 2])
    assert pairs(3, "cross") == ([0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1])
    assert len(pairs(4, "both")[0]) == 16
    method = iboot(targets=Targets(clips="cross"))
    prediction, targets = torch.randn(4, 2, 6), torch.randn(4, 2, 1, 6)
    loss = method._regress(prediction, targets)
    torch.testing.assert_close(method._regress(prediction.flip(1), targets.flip(1)), loss)
    by_hand = (
        cosine_regression(prediction[:, 0], targets[:, 1, 0]) + cosine_regression(prediction[:, 1], targets[:, 0, 0])
    ) / 2
    torch.testing.assert_close(loss, by_hand)
    assert not torch.allclose(method._regress(prediction.flip(1), targets), loss)


# --------------------------------------------------------------------------------------------------- check 12: schedule
def test_learning_rates_of_the_reference():
    at = lambda epoch: OPTIM.lr_at(epoch * 10, total=2000, steps_per_epoch=10, batch=64)
    expected = {0: 0.001, 10: 0.15951201, 35: 0.55579205, 100: 0.3, 199: 3.701e-05}
    for epoch, lr in expected.items():
        assert at(epoch) == pytest.approx(lr, rel=1e-4 if epoch == 199 else 1e-7)
    assert OPTIM.lr_at(350, total=2000, steps_per_epoch=10, batch=512) == pytest.approx(8 * 0.55579205)
    steps = [at(e) for e in range(36)]
    assert steps == sorted(steps)


# ------------------------------------------------------------------------------------------------------------- switches
def test_centre_against_numpy():
    centre = Centre(6, "running", 0.99)
    ema = Centre(6, "ema", 0.9)
    batches = [torch.randn(4, 2, 1, 6) + 1 for _ in range(3)]
    mean = None
    for n, batch in enumerate(batches):
        out, smooth = centre(batch), ema(batch)
        seen = np.concatenate([b.numpy().reshape(-1, 6) for b in batches[: n + 1]])
        now = batch.numpy().reshape(-1, 6).mean(0)
        mean = now if mean is None else 0.9 * mean + 0.1 * now
        np.testing.assert_allclose(centre.mean.numpy(), seen.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(ema.mean.numpy(), mean, rtol=1e-5, atol=1e-6)
        expected = batch.numpy() - seen.mean(0)
        np.testing.assert_allclose(
            out.numpy(), expected / np.linalg.norm(expected, axis=-1, keepdims=True), rtol=1e-4, atol=1e-5
        )
        assert smooth.shape == batch.shape
    kept = centre.mean.clone()
    centre.eval()(batches[0] + 5)
    assert torch.equal(centre.mean, kept)


def test_centring_takes_the_common_direction_away():
    plain, centred = iboot(), iboot(targets=Targets(centring="running"))
    batch = noise(plain, videos=8)
    assert plain.step(batch).logs["constant_loss"] < 0.2  # one constant would do
    assert centred.step(batch).logs["constant_loss"] > 1.5


def test_losses_against_closed_forms():
    prediction, targets = torch.randn(4, 2, 6), nn.functional.normalize(torch.randn(4, 2, 1, 6), dim=-1)
    own = Targets(clips="own")
    l2 = iboot(targets=own)._regress(prediction, targets)
    assert iboot(targets=own, loss="cosine")._regress(prediction, targets).item() == pytest.approx(
        l2.item() - 2, rel=1e-5
    )
    mse = ((prediction - targets[:, :, 0]) ** 2).mean()
    torch.testing.assert_close(iboot(targets=own, loss="mse")._regress(prediction, targets), mse)
    unit = nn.functional.normalize(prediction, dim=-1)
    logits = [unit[:, v] @ targets[:, v, 0].T / 0.1 for v in range(2)]
    nce = sum(-x.log_softmax(-1).diagonal().mean() for x in logits) / 2
    torch.testing.assert_close(iboot(targets=own, loss="infonce")._regress(prediction, targets), nce)


def test_photometry_reaches_the_teacher_only_when_asked():
    params = {
        "sigma": torch.arange(4.0).view(1, 2, 2)[..., :1],
        "grey": torch.tensor([[[True, False, True, False], [False] * 4]]),
    }
    method = iboot(targets=Targets(photometric=True))  # positions 1 and 3 of 4; the teacher's side is 32 of 24
    stills = method._photometry(params)
    assert stills["sigma"].flatten().tolist() == pytest.approx([0, 0, 2 * 32 / 24, 2 * 32 / 24])
    assert stills["grey"].shape == (1, 4, 1)
    assert not stills["grey"].any()
    batch = noise(method)
    grey = batch._replace(params={"clips": {"grey": torch.ones(4, 2, 1, dtype=torch.bool)}})
    plain = iboot()
    assert torch.equal(plain.image_targets(grey), plain.image_targets(batch))
    assert not torch.allclose(method.image_targets(grey), plain.image_targets(batch))


def test_the_cache_computes_every_frame_once(tmp_path):
    pixels = torch.randint(256, (5, 3, 8, 8), dtype=torch.uint8)
    calls = []

    def compute(rows):
        calls.append(len(rows))
        return pixels[rows].flatten(1)[:, :4].float() / 255

    expected = pixels.flatten(1)[:, :4].float() / 255
    for cache in (FeatureCache(str(tmp_path), "a"), FeatureCache(str(tmp_path), "a")):
        for order in ([0, 1, 1], [2, 0, 3, 4]):
            rows = torch.tensor(order)
            assert torch.equal(cache(pixels[rows], lambda at, rows=rows: compute(rows[at])), expected[rows])
    assert calls == [2, 3]
    FeatureCache(str(tmp_path), "b")(pixels, compute)
    assert calls == [2, 3, 5]  # another network


def test_cached_targets_equal_computed_ones(tmp_path):
    plain = iboot(targets=Targets(crop="center"))
    cached = iboot(targets=Targets(crop="center", cache=str(tmp_path)))
    batch = noise(plain)
    torch.testing.assert_close(cached.image_targets(batch), plain.image_targets(batch))
    assert torch.equal(cached.image_targets(batch), cached.image_targets(batch))


def test_clips_in_turn_equal_clips_at_once():
    torch.manual_seed(0)
    method = iboot()
    clips = torch.randn(4, 2, 4, 3, 24, 24)
    method.backbone.eval()  # with batch statistics the two differ, as they should

    def gradients(encode):
        method.zero_grad()
        out = encode()
        out.square().sum().backward()
        return [out.detach(), *[p.grad.clone() for p in method.backbone.parameters()]]

    once = gradients(lambda: method.backbone(clips.flatten(0, 1)).unflatten(0, (4, 2)))
    turn = gradients(lambda: encode_in_turn(method.backbone, clips))
    for a, b in zip(once, turn, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
    assert any(g.abs().max() > 1e-2 for g in turn[1:])


def test_clips_in_turn_move_the_statistics_once():
    method = iboot()
    clips = torch.randn(4, 2, 4, 3, 24, 24)
    twin = iboot().backbone
    twin.load_state_dict(method.backbone.state_dict())
    encode_in_turn(method.backbone, clips).sum().backward()
    for clip in clips.unbind(1):
        twin(clip)
    state = twin.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in method.backbone.state_dict().items())
    with without_statistics(twin):
        twin(clips[:, 0])
    assert all(torch.equal(v, state[k]) for k, v in method.backbone.state_dict().items())
    twin(clips[:, 0])
    assert not all(torch.equal(v, twin.state_dict()[k]) for k, v in method.backbone.state_dict().items())


def test_inflated_start(tmp_path):
    import timm

    flat = timm.create_model("resnet50", pretrained=False)
    torch.save(flat.state_dict(), tmp_path / "r50.pth")
    target = ImageTarget("resnet50", weights=str(tmp_path / "r50.pth"), mean=[0.5] * 3, std=[0.5] * 3, size=32)
    from vssl.methods.iboot import IBoot

    method = IBoot(VideoBackbone("slow_r50"), target=target, optim=SGD, init="inflate")
    stem = method.backbone.state_dict()["scales.0.0.conv.weight"]
    assert torch.equal(stem[:, :, 0], flat.state_dict()["conv1.weight"])
    # check 10
    assert sum(p.numel() for p in method.backbone.parameters()) == 31_634_496
    assert stem.shape == (64, 3, 1, 7, 7)


def test_refusals(tmp_path):
    one = ClipsWithFrames(clips=1, frames=4, stride=1, teacher_frames=2)
    with pytest.raises(UserError, match=r"views.clips=1: there is no other clip to predict"):
        iboot(views=one, targets=Targets(clips="cross"))
    with pytest.raises(UserError, match=r"views.clips=1"):
        iboot(views=one, ema_video=EmaVideo(1.0))
    with pytest.raises(UserError, match=r"targets.crop=same: only frames that are cut alike"):
        Targets(cache=str(tmp_path))
    with pytest.raises(UserError, match="the clip's photometry goes with the clip's crop"):
        Targets(crop="own", photometric=True)
    with pytest.raises(UserError, match="a momentum lies in"):
        Targets(momentum=1.0)


# ------------------------------------------------------------------------- the card of the real teacher, in the config
def toy_target(**change):
    config = yaml.safe_load((ROOT / "configs/method/toy/iboot.yaml").read_text())
    given = config["model"]["init_args"]["target"]["init_args"]
    return {k: v for k, v in (given | change).items() if v is not None}


@pytest.mark.real
@pytest.mark.parametrize("missing", [None, "model_kwargs", "mean"])
def test_the_config_has_the_card_of_the_real_teacher(missing, real_data):
    """Features through the configuration equal those of the network as its publisher runs it; without a line, not."""
    import timm

    file = real_data / "teachers" / "mobilenetv2_100_imagenet.pth"
    change = {"weights": str(file)}
    if missing == "model_kwargs":
        change["model_kwargs"] = None
    elif missing == "mean":
        change |= {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}  # what timm says of this name
    target = ImageTarget(**toy_target(**change))
    net = timm.create_model("mobilenetv2_100", pad_type="same").eval()
    net.load_state_dict(torch.load(file, weights_only=True))
    smooth = nn.functional.interpolate(torch.rand(2, 3, 6, 6), (96, 96), mode="bilinear")
    pixels = (smooth * 255).to(torch.uint8)
    with torch.no_grad():
        expected = net.forward_head(net.forward_features(pixels / 127.5 - 1), pre_logits=True)
    found = target.frames(iboot(target=target)._normalised(pixels))
    off = ((found - expected).norm() / expected.norm()).item()
    assert off < 1e-4 if missing is None else off > 0.1
