"""HSV noise against Python's colorsys, pixel by pixel; its draws; and that it disturbs no other draw."""

import colorsys
import math

import numpy as np
import pytest
import torch

from vssl.seeds import seeded
from vssl.types import Key, VideoMeta
from vssl.views import Augment, Plan, View
from vssl.views.augment import draw_photometry
from vssl.views.draw import draw
from vssl.views.photometry import hsv_noise, photometry

NONE = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0]


def oracle(rgb, noise):
    a, b, c, d, e, f, g = noise
    h, s, v = colorsys.rgb_to_hsv(*rgb)
    cut = lambda x: min(max(x, 0.0), 1.0)
    return colorsys.hsv_to_rgb((h + a) % 1.0, cut(s**b * c + d), cut(v**e * f + g))


@pytest.mark.parametrize("seed", range(4))
def test_equals_colorsys(seed):
    rng = np.random.default_rng(seed)
    pixels = rng.random((50, 3))
    pixels[:4] = [[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5], [1, 0, 0]]
    drawn = draw_photometry((Augment(hsv=1.0),), 1, [seeded("hsv", seed)])["hsv"]
    x = torch.from_numpy(pixels.T.copy()).view(1, 1, 1, 3, 5, 10)
    out = hsv_noise(x, drawn.double().unsqueeze(0)).reshape(3, 50).T.numpy()
    expected = [oracle(p, drawn.flatten().double().tolist()) for p in pixels]
    np.testing.assert_allclose(out, expected, atol=1e-9)
    assert np.abs(out - pixels).max() > 0.05


def test_no_noise_is_the_identity():
    x = torch.rand(2, 1, 3, 3, 4, 4)
    torch.testing.assert_close(hsv_noise(x, torch.tensor(NONE).expand(2, 1, 1, 7)), x, rtol=0, atol=1e-6)


def test_draws():
    drawn = torch.cat([draw_photometry((Augment(hsv=0.5),), 1, [seeded(i)])["hsv"].view(1, 7) for i in range(4000)])
    still = (drawn == torch.tensor(NONE)).all(-1)
    assert still.float().mean().item() == pytest.approx(0.5, abs=0.03)
    moved = drawn[~still]
    low = torch.tensor([-0.1, 0.25, 2**-0.5, -0.1, 0.25, 2**-0.5, -0.1])
    high = torch.tensor([0.1, 4.0, 2**0.5, 0.1, 4.0, 2**0.5, 0.1])
    assert (moved >= low - 1e-6).all()
    assert (moved <= high + 1e-6).all()
    assert moved[:, 1].log2().std().item() == pytest.approx(4 / math.sqrt(12), rel=0.05)
    assert moved[:, 0].std().item() == pytest.approx(0.2 / math.sqrt(12), rel=0.05)


def test_the_other_draws_stay_what_they_were():
    settings = {"jitter": 0.8, "grey": 0.5, "blur": 0.5, "solarise": 0.3, "per_frame": "all"}
    without = draw_photometry((Augment(**settings),), 5, [seeded(1)])
    with_noise = draw_photometry((Augment(hsv=1.0, **settings),), 5, [seeded(1)])
    assert set(with_noise) == set(without) | {"hsv"}
    assert all(torch.equal(without[name], with_noise[name]) for name in without)


def test_every_frame_of_a_shot_is_augmented_once_and_each_differently():
    """VIVI check 6: N=2, K=2, L=3 give 12 draws, all different."""
    view = View((Augment(scale=(0.05, 1.0), hsv=1.0, per_frame="all"),), size=16, mean=(0, 0, 0), std=(1, 1, 1))
    boxes, noise = [], []
    for row in range(2):
        plan = Plan({"shots": torch.arange(6).view(2, 3)}, {})
        drawn = draw({"shots": view}, plan, VideoMeta(6, 25.0, 40, 50), seed=0, key=Key(0, row, 0, row))["shots"]
        boxes += [tuple(b.tolist()) for rows in drawn.boxes for b in rows]
        noise += [tuple(n.tolist()) for n in drawn.photometry["hsv"].flatten(0, 1)]
    assert len(boxes) == len(set(boxes)) == 12
    assert len(noise) == len(set(noise)) == 12
    shared = View((Augment(hsv=1.0),), size=16, mean=(0, 0, 0), std=(1, 1, 1))
    plan = Plan({"shots": torch.arange(6).view(2, 3)}, {})
    once = draw({"shots": shared}, plan, VideoMeta(6, 25.0, 40, 50), seed=0, key=Key(0, 0, 0, 0))["shots"]
    assert len(once.boxes[0]) == 1  # without per_frame the frames of a shot share one draw


def test_noise_comes_before_jitter():
    x = torch.rand(1, 1, 1, 3, 6, 6)
    color = torch.tensor([0.0, -0.4, 0.0, 0.0]).view(1, 1, 1, 4)
    jitter = {"color": color, "order": torch.arange(4).view(1, 1, 1, 4), "style": torch.zeros(1, 1, 1).bool()}
    noise = {"hsv": torch.tensor([0.05, 2.0, 1.2, 0.05, 0.5, 0.8, 0.02]).view(1, 1, 1, 7)}
    both = photometry(x.clone(), jitter | noise)
    torch.testing.assert_close(both, photometry(photometry(x.clone(), noise), jitter))
    assert not torch.allclose(both, photometry(photometry(x.clone(), jitter), noise), atol=1e-2)
