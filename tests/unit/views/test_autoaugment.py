"""AutoAugment from our generators: deterministic, per frame or per clip, and nothing else moves."""

from dataclasses import replace

import pytest
import torch
from torchvision.transforms.v2 import AutoAugment

from vssl.types import Key, VideoMeta
from vssl.views.augment import Augment, autoaugment
from vssl.views.draw import crop, draw
from vssl.views.plan import Plan, View

META = VideoMeta(6, 25.0, 40, 40)
PLAN = Plan({"clip": torch.arange(6).view(2, 3)}, {})
FRAMES = torch.randint(256, (6, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
PLAIN = Augment(hsv=1.0, jitter=1.0, per_frame="all")


def pixels(augment, frames=FRAMES, epoch=0):
    view = View((augment,), size=24, mean=(0.5,) * 3, std=(0.5,) * 3)
    drawn = draw({"clip": view}, PLAN, META, seed=3, key=Key(epoch, 1, 0, 0))["clip"]
    return drawn, torch.stack(crop(frames, PLAN.views["clip"], view, drawn))


def test_it_is_off_by_default_and_moves_no_other_draw():
    assert Augment().autoaugment is False
    (without, plain), (drawn, changed) = pixels(PLAIN), pixels(replace(PLAIN, autoaugment=True))
    assert all(len(seeds) == 0 for seeds in without.policies)
    assert not torch.equal(plain, changed)
    assert all(map(torch.equal, without.boxes + without.flips, drawn.boxes + drawn.flips))
    assert all(torch.equal(without.photometry[name], drawn.photometry[name]) for name in drawn.photometry)


def test_the_draw_is_a_function_of_the_key_alone():
    chosen = replace(PLAIN, autoaugment=True)
    torch.manual_seed(1)
    one = pixels(chosen)[1]
    state = torch.get_rng_state()
    two = pixels(chosen)[1]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(one, two)
    assert torch.equal(pixels(chosen)[1], one)
    assert not torch.equal(pixels(chosen, epoch=1)[1], one)


@pytest.mark.parametrize("per_frame", ["none", "all"])
def test_a_clip_has_one_policy_unless_every_frame_has_its_own(per_frame):
    same = FRAMES[:1].expand(6, -1, -1, -1)
    augment = Augment(crop="center", flip=0.0, autoaugment=True, per_frame=per_frame)
    differ = 0
    for epoch in range(8):
        clips = pixels(augment, same, epoch)[1]
        differ += any(not torch.equal(frame, clip[0]) for clip in clips for frame in clip)
    assert differ == 0 if per_frame == "none" else differ > 4


def test_it_is_torchvisions_policy():
    frames, seeds = FRAMES[:2], torch.tensor([5, 6])
    expected = []
    for frame, seed in zip(frames, seeds, strict=True):
        torch.manual_seed(int(seed))
        expected.append(AutoAugment()(frame))
    assert torch.equal(autoaugment(frames, seeds), torch.stack(expected))
    assert not torch.equal(autoaugment(frames, seeds.flip(0)), torch.stack(expected))
    assert torch.equal(autoaugment(frames, seeds[:0]), frames)
