from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from vssl.backbones.base import Backbone, Input
from vssl.errors import UserError
from vssl.evaluate import controls
from vssl.evaluate.cache import Cache
from vssl.evaluate.clips.network import Network
from vssl.evaluate.clips.predict import _logits
from vssl.evaluate.controls import calibrate, calibration_rows, random_encoders, untrained
from vssl.evaluate.features import Column, Lost, card_of, encode, full_precision, normalise, recipe, stream
from vssl.evaluate.protocol import Protocol, load
from vssl.types import Sample, VideoMeta

CARD = Input(6, frames=2, stride=3, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))


class Net(Backbone):
    """A stem with batch norm."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.width = self.dim = width
        self.map_dims = (width,)
        self.input = CARD
        self.conv, self.norm = nn.Conv3d(3, width, 1), nn.BatchNorm3d(width)

    def maps(self, x, last=1):
        assert last == 1
        return (self.norm(self.conv(x.transpose(1, 2))).relu(),)


class Failure(NamedTuple):
    row: int
    path: str
    reason: str


def batches(rows, size, *, bad=(), clips=3):
    """What evaluation_loader yields: each video's pixels depend on its row only."""
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        good = [row for row in part if row not in bad]
        failures = [Failure(row, f"{row}.avi", "does not decode") for row in part if row in bad]
        yield (sample(good, clips) if good else None), failures


def sample(rows, clips):
    pixels = [torch.randint(256, (clips, 2, 3, 6, 6), generator=torch.Generator().manual_seed(r)) for r in rows]
    views = {"clips": torch.stack(pixels).to(torch.uint8)}
    none = torch.full((len(rows),), -1)
    return Sample(views=views, params={"clips": {}}, targets={}, images={}, label=none, row=torch.tensor(rows))


def features(encoders, rows, size, **settings):
    return joined(encoders, batches(rows, size, **settings), len(rows))


def joined(encoders, loader, num_videos):
    """All parts of the stream: encoder name -> features."""
    columns, cache = {name: Column(net, CARD) for name, net in encoders.items()}, Cache()
    for name in columns:
        cache.open(name, None)
    for part in stream(columns, loader=loader, num_videos=num_videos):
        for name, found in part.items():
            cache.add(name, found)
    return {name: cache.load(name) for name in columns}


def precisions():
    backends = torch.backends
    return [each.fp32_precision for each in (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul)]


def test_forward_passes_run_in_full_precision_and_leave_the_settings_alone(monkeypatch):
    """Features, calibration and predictions; whatever the user has set, and also after an error."""
    found = []
    maps = Net.maps
    monkeypatch.setattr(Net, "maps", lambda self, *args: found.append(precisions()) or maps(self, *args))
    before = precisions()
    assert before[0] == "tf32"  # PyTorch's default
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    given = precisions()
    assert given != before
    features({"a": Net()}, [0, 1], 2)
    calibrate([(Net(), CARD)], loader=batches([0, 1], 2))
    network = Network(Net(), load("finetune-v1"), 3).eval()
    with torch.inference_mode():
        _logits(network, sample([0], 3).views["clips"][0], CARD, torch.device("cpu"))
    assert len(found) == 4
    assert all(each == ["ieee"] * 3 for each in found)
    assert precisions() == given
    torch.backends.cuda.matmul.fp32_precision = before[2]
    with pytest.raises(RuntimeError, match="stop"), full_precision():
        raise RuntimeError("stop")
    assert precisions() == before


def test_normalise_is_the_formula_and_turns_channels_for_bgr():
    pixels = torch.randint(256, (2, 1, 3, 4, 4), dtype=torch.uint8)
    mean, std = (np.array(v, dtype=np.float32).reshape(1, 1, 3, 1, 1) for v in (CARD.mean, CARD.std))
    expected = (pixels.numpy() / 255 - mean) / std
    np.testing.assert_allclose(normalise(pixels, CARD).numpy(), expected, rtol=1e-5, atol=1e-6)
    turned = (pixels.numpy()[:, :, ::-1] / 255 - mean) / std
    np.testing.assert_allclose(normalise(pixels, CARD._replace(color="bgr")).numpy(), turned, rtol=1e-5, atol=1e-6)


def test_feature_is_the_mean_over_clips():
    net, pixels = Net().eval(), sample([1, 2], 40).views["clips"]
    with torch.no_grad():
        expected = torch.stack([net(normalise(video, CARD)).mean(0) for video in pixels])
        torch.testing.assert_close(encode(net, pixels, CARD), expected)


def test_no_video_depends_on_its_neighbours():
    net = Net()
    net.norm.running_mean.fill_(0.3)
    one, many = features({"net": net}, list(range(10)), 1), features({"net": net}, list(range(10)), 7)
    np.testing.assert_array_equal(one["net"].values, many["net"].values)
    # negative control: a network in train mode, fed a whole batch, mixes its videos
    net.train()
    with torch.no_grad():
        alone, beside = (net(normalise(sample(r, 3).views["clips"].flatten(0, 1), CARD))[0] for r in ([0], [0, 1, 2]))
    assert (alone - beside).abs().max() > 1e-3


def test_one_pass_serves_every_encoder():
    passes = []

    def counted():
        for batch in batches([4, 2, 9], 2):
            passes.append(len(batch[0].row))
            yield batch

    nets = {"a": Net(4), "b": Net(8)}
    found = joined(nets, counted(), 3)
    assert passes == [2, 1]
    assert {name: v.values.shape for name, v in found.items()} == {"a": (3, 4), "b": (3, 8)}
    assert found["a"].rows.tolist() == [2, 4, 9]
    alone = features({"a": nets["a"]}, [2], 1)
    np.testing.assert_array_equal(found["a"].values[0], alone["a"].values[0])


def test_unread_videos_are_listed_and_never_replaced():
    found = features({"net": Net()}, [5, 6, 7], 2, bad={6})["net"]
    assert found.rows.tolist() == [5, 7]
    assert found.lost == [Lost(6, "6.avi", "does not decode")]
    with pytest.raises(UserError, match="2 videos: none could be read"):
        features({"net": Net()}, [1, 2], 2, bad={1, 2})


def test_features_that_are_not_finite_are_refused():
    net = Net()
    net.conv.weight.data.fill_(float("nan"))
    with pytest.raises(UserError, match="net: features of 3 of 3 videos are not finite"):
        features({"net": net}, [1, 2, 3], 2)


def test_a_frame_encoders_clips_are_spread_frames():
    frame = recipe(load("knn-v1"), Input(32))
    plan = frame.sampler(VideoMeta(91, 25.0, 4, 4), torch.Generator()).views["clips"]
    assert plan[:, 0].tolist() == list(range(0, 91, 10))
    assert recipe(load("knn-v1"), CARD, clips=1).sampler.clips == 1


def test_the_card_is_the_encoders_own_unless_the_protocol_fixes_it():
    fixed = {"size": 112, "frames": 16, "stride": 1, "mean": [0.0] * 3, "std": [1.0] * 3, "color": "bgr"}
    assert card_of(load("knn-v1"), Net()) == CARD
    protocol = Protocol("fixed", dict(load("knn-v1").fields) | {"input": fixed})
    assert card_of(protocol, Net()) == Input(112, 16, 1, (0.0,) * 3, (1.0,) * 3, "bgr")


def test_calibration_is_the_plain_average_and_leaves_weights():
    net, rows = Net(), list(range(8))
    before = {name: p.clone() for name, p in net.named_parameters()}
    assert calibrate([(net, CARD)], loader=batches(rows, 4), device="cpu") == 2
    assert not net.training
    with torch.no_grad():
        maps = [net.conv(normalise(b.views["clips"].flatten(0, 1), CARD).transpose(1, 2)) for b, _ in batches(rows, 4)]
    expected = torch.stack([m.mean(dim=(0, 2, 3, 4)) for m in maps]).mean(0)
    torch.testing.assert_close(net.norm.running_mean, expected)
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())


def test_calibration_rows_are_spread_and_bounded():
    assert calibration_rows(np.arange(5)).tolist() == [0, 1, 2, 3, 4]
    rows = calibration_rows(np.arange(1000, 2000))
    assert len(rows) == 192
    assert len(set(rows.tolist())) == 192
    assert (rows[0], rows[-1]) == (1000, 1994)


def test_the_protocol_says_how_controls_are_calibrated():
    said = f"{controls.CALIBRATION_BATCHES} batches of {controls.CALIBRATION_VIDEOS} train videos"
    assert load("knn-v1")["controls.calibration"].startswith(said)
    assert load("knn-v1")["controls.random_seeds"] == [0, 1, 2]


def test_random_encoders_differ_by_seed_repeat_and_leave_the_global_generator():
    spec = {"class_path": "vssl.backbones.TinyVideo", "init_args": {}}
    state = torch.random.get_rng_state()
    first, again = random_encoders(spec, (0, 1)), random_encoders(spec, (1,))
    assert torch.equal(torch.random.get_rng_state(), state)
    a, b, c = (next(net.parameters()) for net in (first["random 0"], first["random 1"], again["random 1"]))
    assert torch.equal(b, c)
    assert not torch.equal(a, b)


def test_a_control_never_starts_from_ready_weights():
    spec = {"class_path": "x", "init_args": {"name": "resnet18", "pretrained": True, "weights": "x.pth"}}
    assert untrained(spec)["init_args"] == {"name": "resnet18", "pretrained": False, "weights": None}
    assert spec["init_args"]["pretrained"] is True
