"""Augmentation: VITO check 10, consistency over the clip, photometry against torchvision and NumPy."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from vssl.errors import UserError
from vssl.methods.vito import ByolAugment
from vssl.seeds import seeded
from vssl.types import Key, VideoMeta
from vssl.views import Augment, Plan, View, center, three_crops
from vssl.views.augment import cut, draw_box, draw_geometry, draw_photometry, to_pixels
from vssl.views.draw import crop, draw
from vssl.views.photometry import blur, blur_matrix, blur_radius, photometry

SHARP = Augment(jitter=1.0, grey=0.5, blur=0.5, solarise=0.5, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)


def params(augments, rows=1, frames=1, seed=0):
    drawn = draw_photometry(augments, frames, [seeded(seed, v) for v in range(rows)])
    return {name: value.unsqueeze(0) for name, value in drawn.items()}


@pytest.mark.parametrize(("low", "smallest", "mean"), [(0.4, 0.398, 0.603), (0.08, 0.079, 0.433)])
def test_crop_areas(low, smallest, mean):
    rng = seeded("areas", 0)
    boxes = [draw_box(Augment(scale=(low, 1.0)), height=240, width=320, size=224, rng=rng) for _ in range(10_000)]
    areas = [box[2] * box[3] for box in boxes]
    assert min(areas) >= smallest
    assert np.mean(areas) == pytest.approx(mean, abs=0.01)
    for top, left, h, w in boxes[:500]:
        t, x, rows, columns = to_pixels(torch.tensor([top, left, h, w]), 240, 320)
        assert 0 <= t <= t + rows <= 240
        assert 0 <= x <= x + columns <= 320
        assert 0.74 <= columns / rows <= 1.36


def test_blur_and_solarise_rates_of_the_three_views():
    rows = ByolAugment().rows()
    blurred, solarised = np.zeros(3), np.zeros(3)
    for i in range(10_000):
        drawn = draw_photometry(rows, 1, [seeded("rates", i, v) for v in range(3)])
        blurred += (drawn["sigma"][:, 0] > 0).numpy()
        solarised += drawn["solarise"][:, 0].numpy()
    np.testing.assert_allclose(blurred / 10_000, [1.0, 0.1, 1.0], atol=0.012)
    np.testing.assert_allclose(solarised / 10_000, [0.0, 0.2, 0.0], atol=0.015)


def test_blur_kernel_of_224_has_23_taps():
    assert 2 * blur_radius(224) + 1 == 23
    middle = blur_matrix(torch.full((1, 1, 1), 2.0), 224)[0, 0, 0, 112]
    assert int((middle > 0).sum()) == 23
    taps = np.exp(-(np.arange(-11, 12) ** 2) / 8)
    np.testing.assert_allclose(middle[101:124].numpy(), taps / taps.sum(), atol=1e-6)


def test_solarise():
    x = torch.tensor([0.4, 0.5, 0.6]).view(1, 1, 1, 3, 1, 1)
    out = photometry(x, {"solarise": torch.ones(1, 1, 1, dtype=torch.bool)})
    torch.testing.assert_close(out.flatten(), torch.tensor([0.4, 0.5, 0.4]))


def test_blur_equals_a_convolution_away_from_the_border():
    x = torch.rand(1, 1, 1, 3, 64, 64)
    out = blur(x, torch.full((1, 1, 1), 1.5))
    expected = tv.gaussian_blur(x[0, 0, 0], [2 * blur_radius(64) + 1] * 2, [1.5, 1.5])
    inside = (..., slice(8, -8), slice(8, -8))
    torch.testing.assert_close(out[0, 0, 0][inside], expected[inside], rtol=1e-4, atol=1e-5)
    assert torch.equal(blur(x, torch.zeros(1, 1, 1)), x)


@pytest.mark.parametrize(
    ("place", "amount", "reference"),
    [
        (0, 0.2, lambda x: tv.adjust_brightness(x, 1.2)),
        (1, -0.3, lambda x: tv.adjust_contrast(x, 0.7)),
        (2, 0.3, lambda x: tv.adjust_saturation(x, 1.3)),
    ],
)
def test_single_operations_equal_torchvision(place, amount, reference):
    x = torch.rand(3, 16, 16) * 0.4 + 0.3  # no value leaves [0, 1], so clamping does not enter
    color = torch.zeros(1, 1, 1, 4)
    color[..., place] = amount
    given = {"color": color, "order": torch.arange(4).view(1, 1, 1, 4), "style": torch.zeros(1, 1, 1).bool()}
    out = photometry(x.clone().view(1, 1, 1, 3, 16, 16), given)
    torch.testing.assert_close(out.view(3, 16, 16), reference(x), rtol=0, atol=2e-3)


def test_a_chain_in_its_drawn_order_equals_the_operations_one_by_one():
    x = torch.rand(3, 8, 8, dtype=torch.float64) * 0.2 + 0.4
    color = torch.tensor([0.1, -0.2, 0.3, 0.0], dtype=torch.float64)
    grey = torch.tensor([0.2989, 0.587, 0.114], dtype=torch.float64)
    for style in (False, True):
        for order in ([0, 1, 2, 3], [2, 1, 0, 3], [1, 3, 2, 0]):
            y = x.clone()
            for op in order:
                flat = (y * grey[:, None, None]).sum(0, keepdim=True)
                if op == 0:
                    y = y + 0.1 if style else y * 1.1
                elif op == 1:
                    mean = y.mean((1, 2), keepdim=True) if style else flat.mean()
                    y = 0.8 * y + 0.2 * mean
                elif op == 2:
                    y = 1.3 * y - 0.3 * flat
            given = {
                "color": color.view(1, 1, 1, 4),
                "order": torch.tensor(order).view(1, 1, 1, 4),
                "style": torch.tensor([[[style]]]),
            }
            out = photometry(x.clone().view(1, 1, 1, 3, 8, 8), given)
            torch.testing.assert_close(out.view(3, 8, 8), y.clamp(0, 1), rtol=0, atol=1e-6)


def test_hue_turns_colours_and_keeps_greys():
    color = torch.tensor([0.0, 0.0, 0.0, 1 / 3]).view(1, 1, 1, 4)
    given = {"color": color, "order": torch.arange(4).view(1, 1, 1, 4), "style": torch.zeros(1, 1, 1).bool()}
    grey = torch.full((1, 1, 1, 3, 4, 4), 0.5)
    torch.testing.assert_close(photometry(grey.clone(), given), grey, rtol=0, atol=1e-3)
    red = torch.tensor([0.6, 0.3, 0.3]).view(1, 1, 1, 3, 1, 1).expand(1, 1, 1, 3, 4, 4)
    turned = photometry(red.clone(), given)[0, 0, 0, :, 0, 0]
    assert int(turned.argmax()) != 0


def test_a_constant_clip_stays_constant_unless_colours_are_per_frame():
    frames = torch.randint(256, (1, 3, 40, 50), dtype=torch.uint8).expand(6, 3, 40, 50)
    for per_frame, constant in (("none", True), ("photometry", False)):
        augment = Augment(jitter=1.0, per_frame=per_frame)
        view = View((augment,), size=16, mean=(0, 0, 0), std=(1, 1, 1))
        plan = Plan({"clips": torch.arange(6).view(1, 6)}, {})
        drawn = draw({"clips": view}, plan, VideoMeta(6, 25.0, 40, 50), seed=0, key=Key(0, 0, 0, 0))["clips"]
        cropped = torch.stack(crop(frames, plan.views["clips"], view, drawn))
        assert (cropped == cropped[:, :1]).all()
        given = {name: value.unsqueeze(0) for name, value in drawn.photometry.items()}
        out = photometry(cropped.unsqueeze(0).float() / 255, given)
        assert torch.allclose(out, out[:, :, :1].expand_as(out)) is constant


def test_per_frame_geometry():
    boxes, flips = draw_geometry(
        Augment(per_frame="all"), height=40, width=50, size=16, num_frames=5, rng=seeded("per frame")
    )
    assert boxes.shape == (5, 4)
    assert flips.shape == (5,)
    assert len({tuple(box.tolist()) for box in boxes}) == 5


def test_flip_twice_is_the_identity_and_output_is_uint8():
    frames = torch.randint(256, (3, 3, 20, 30), dtype=torch.uint8)
    where, box = torch.tensor([0, 2, 2]), torch.tensor([[0.1, 0.2, 0.5, 0.5]])
    plain = cut(frames, where, box, torch.tensor([False]), 8)
    flipped = cut(frames, where, box, torch.tensor([True]), 8)
    assert plain.dtype == torch.uint8
    assert plain.shape == (3, 3, 8, 8)
    assert torch.equal(flipped.flip(-1), plain)
    assert not torch.equal(flipped, plain)


def test_cut_equals_torchvisions_resized_crop():
    frames = torch.randint(256, (2, 3, 48, 64), dtype=torch.uint8)
    out = cut(frames, torch.tensor([1]), torch.tensor([[0.25, 0.25, 0.5, 0.5]]), torch.tensor([False]), 10, "bicubic")
    expected = tv.resized_crop(frames[1], 12, 16, 24, 32, [10, 10], tv.InterpolationMode.BICUBIC, antialias=True)
    assert torch.equal(out[0], expected)


def test_center_and_fixed_boxes():
    top, left, h, w = draw_box(center(0.5), height=100, width=200, size=8, rng=seeded(0))
    assert (top, left, h, w) == (0.25, 0.375, 0.5, 0.25)
    for i in range(100):
        top, left, h, w = draw_box(Augment(crop="fixed"), height=240, width=320, size=112, rng=seeded(i))
        assert (h, w) == (112 / 128, 112 / 171)
        assert 0 <= top <= 1 - h + 1e-9
        assert 0 <= left <= 1 - w + 1e-9
    with pytest.raises(UserError, match=r"size=200: a fixed crop fits into resize=\[128, 171\]"):
        draw_box(Augment(crop="fixed"), height=240, width=320, size=200, rng=seeded(0))


def test_like_reuses_boxes_and_one_more_view_shifts_no_other():
    clip = View((SHARP,), size=16, mean=(0, 0, 0), std=(1, 1, 1))
    still = View((SHARP,), size=24, mean=(0, 0, 0), std=(1, 1, 1), like="clips")
    plan = Plan({"clips": torch.zeros(2, 4).long(), "stills": torch.zeros(6, 1).long()}, {})
    meta, key = VideoMeta(9, 25.0, 40, 50), Key(1, 2, 0, 3)
    alone = draw({"clips": clip}, plan, meta, seed=5, key=key)
    both = draw({"stills": still, "clips": clip}, plan, meta, seed=5, key=key)
    assert all(torch.equal(a, b) for a, b in zip(alone["clips"].boxes, both["clips"].boxes, strict=True))
    picks = [0, 0, 0, 1, 1, 1]
    assert all(torch.equal(both["stills"].boxes[v], both["clips"].boxes[p]) for v, p in enumerate(picks))
    assert both["stills"].photometry == {}
    moved = draw({"clips": clip}, plan, meta, seed=5, key=key._replace(copy=1))
    assert not torch.equal(moved["clips"].boxes[0], alone["clips"].boxes[0])


def test_rows_take_their_augmentations_in_turn():
    none, all_ = Augment(grey=0.0), Augment(grey=1.0)
    drawn = params((none, all_), rows=3)
    assert drawn["grey"].flatten().tolist() == [False, True, False]


def test_probabilities_outside_their_range_are_refused():
    with pytest.raises(UserError, match=r"flip=1\.5: a probability lies in \[0, 1\]"):
        Augment(flip=1.5)
    with pytest.raises(UserError, match="crop areas"):
        Augment(scale=(0.0, 1.0))


def test_jitter_frequency_and_amounts():
    drawn = [params((Augment(jitter=0.8, hue=0.2),), seed=i)["color"].flatten() for i in range(4000)]
    color = torch.stack(drawn)
    assert (color.abs().sum(-1) > 0).float().mean().item() == pytest.approx(0.8, abs=0.02)
    assert color[:, 3].abs().max().item() <= 0.2
    assert color[:, 0].std().item() == pytest.approx(0.4 / math.sqrt(3) * math.sqrt(0.8), abs=0.01)


@pytest.mark.parametrize(("height", "width"), [(40, 60), (60, 40), (40, 40)])
def test_three_crops_lie_along_the_longer_side(height, width):
    boxes = [draw_box(a, height=height, width=width, size=32, rng=seeded(0)) for a in three_crops(0.8)]
    pixels = [to_pixels(torch.tensor(box, dtype=torch.float64), height, width) for box in boxes]
    assert all(box[2:] == (32, 32) for box in pixels)
    across = (min(height, width) - 32) // 2
    places = [0, (max(height, width) - 32) // 2, max(height, width) - 32]
    assert pixels == [((p, across) if height > width else (across, p)) + (32, 32) for p in places]
