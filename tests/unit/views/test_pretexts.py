"""Samplers of VideoPace, VCOP and RSPNet against loops written from the text of auxskd.md 3.3."""

from itertools import permutations

import numpy as np
import pytest
import torch

from vssl.errors import UserError
from vssl.seeds import seeded
from vssl.types import VideoMeta
from vssl.views import ShuffledClips, SpeedPairs, ViewSampler, WholePace
from vssl.views.pretexts import at_speed


def meta(num_frames):
    return VideoMeta(num_frames, 25.0, 240, 320)


def plans(sampler, num_frames, count):
    return [sampler(meta(num_frames), seeded(i, num_frames)) for i in range(count)]


def is_uniform(labels, classes):
    """Every class within 5 standard deviations of its share."""
    counts, share = np.bincount(labels, minlength=classes), 1 / classes
    return len(counts) == classes and np.abs(counts - len(labels) * share).max() < 5 * np.sqrt(
        len(labels) * share * (1 - share)
    )


@pytest.mark.parametrize("sampler", [WholePace(), ShuffledClips(), SpeedPairs()])
def test_samplers_keep_the_contract(sampler):
    assert isinstance(sampler, ViewSampler)
    for num_frames in (64, 65, 300):
        one, two, other = (sampler(meta(num_frames), seeded(s, "plan")) for s in (1, 1, 2))
        for name, frames in one.views.items():
            assert torch.equal(frames, two.views[name])
            assert num_frames < 300 or not torch.equal(frames, other.views[name])
            assert 0 <= int(frames.min()) <= int(frames.max()) < num_frames
            assert frames.dtype == torch.int64


# ------------------------------------------------------------------------------------------------------------ VideoPace
def paced(start, pace, num_frames, length=16):
    """1-based: step by the pace, back to the first frame where that leaves the video."""
    frames = []
    while len(frames) < length:
        frames.append(start)
        start = start + pace if start + pace <= num_frames else 1
    return frames


def test_a_clip_runs_at_one_pace_and_loops_to_the_first_frame():
    assert (WholePace().indices(27, 4, 33) + 1).tolist() == [28, 32, 1, 5, 9, 13, 17, 21, 25, 29, 33, 1, 5, 9, 13, 17]
    assert (WholePace(frames=4).indices(0, 3, 1) + 1).tolist() == [1, 1, 1, 1]
    for plan in plans(WholePace(clips=2), 41, 200):
        for frames, label in zip(plan.views["clips"] + 1, plan.targets["pace"], strict=True):
            assert frames.tolist() == paced(int(frames[0]), int(label) + 1, 41)


def test_pace_and_start_are_uniform_and_the_start_may_be_the_last_frame():
    drawn = plans(WholePace(), 20, 4000)
    assert is_uniform([int(p.targets["pace"]) for p in drawn], 4)
    assert is_uniform([int(p.views["clips"][0, 0]) for p in drawn], 20)
    assert not is_uniform([int(p.targets["pace"]) // 2 for p in drawn], 4)


# ----------------------------------------------------------------------------------------------------------------- VCOP
def test_clips_of_one_stretch_in_the_order_of_the_label():
    orders = sorted(permutations(range(3)))
    for plan in plans(ShuffledClips(), 70, 200):
        clips, order = plan.views["clips"].tolist(), orders[int(plan.targets["order"])]
        start = min(clip[0] for clip in clips)
        assert 0 <= start <= 6
        assert clips == [[start + 24 * place + t for t in range(16)] for place in order]


def test_orders_are_uniform():
    drawn = plans(ShuffledClips(), 64, 3000)
    assert is_uniform([int(p.targets["order"]) for p in drawn], 6)
    starts = [int(p.views["clips"].min()) for p in plans(ShuffledClips(), 69, 3000)]
    assert is_uniform(starts, 6)


def test_videos_too_short_for_three_clips_are_left_out():
    assert ShuffledClips().span == 64
    assert [ShuffledClips().accepts(meta(n)) for n in (63, 64)] == [False, True]
    assert ShuffledClips(frames=8, gap=4).accepts(meta(32))
    for mistake in ({"clips": 1}, {"gap": -1}, {"frames": 0}):
        with pytest.raises(UserError):
            ShuffledClips(**mistake)


# --------------------------------------------------------------------------------------------------------------- RSPNet
def test_query_and_key_at_either_speed():
    step = {False: 1, True: 2}
    for plan in plans(SpeedPairs(), 40, 100):
        query, key, fast = plan.views["query"][0].tolist(), plan.views["key"], bool(plan.targets["fast"])
        assert query == [query[0] + step[fast] * t for t in range(16)]
        first = int(key[0, 0])
        assert 0 <= first <= 8
        for speed in (False, True):
            assert at_speed(key, torch.tensor([speed]))[0].tolist() == [first + step[speed] * t for t in range(16)]


def test_speeds_and_starts_are_uniform_and_independent():
    drawn = plans(SpeedPairs(), 35, 4000)
    fast = np.array([int(p.targets["fast"]) for p in drawn])
    query = np.array([int(p.views["query"][0, 0]) for p in drawn])
    key = np.array([int(p.views["key"][0, 0]) for p in drawn])
    assert is_uniform(fast, 2)
    assert is_uniform(query * 8 + key * 2 + fast, 32)


def test_short_videos_wrap():
    (plan,) = plans(SpeedPairs(frames=4), 5, 1)
    assert at_speed(plan.views["key"], torch.tensor([True]))[0].tolist() == [0, 2, 4, 1]
    with pytest.raises(UserError, match="even"):
        SpeedPairs(frames=5)


def test_at_speed_takes_every_row_at_its_own_speed():
    key = torch.arange(2 * 6 * 3).view(2, 6, 3)  # T = 4: frames 0 1 2 3 4 6
    mixed = at_speed(key, torch.tensor([True, False]))
    assert torch.equal(mixed[0], key[0, [0, 2, 4, 5]])
    assert torch.equal(mixed[1], key[1, [0, 1, 2, 3]])
