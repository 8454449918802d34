"""Samplers: frame lists of the papers' files (plans 0-based, the lists 1-based), closed form, distribution."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vssl.errors import UserError
from vssl.seeds import seeded
from vssl.types import VideoMeta
from vssl.views import PacedClips, UniformClips, ViewSampler, WindowFrames


def meta(num_frames, fps=25.0):
    return VideoMeta(num_frames, fps, 240, 320)


def spans(text):
    """'1..3 7' -> [1, 2, 3, 7]"""
    out = []
    for word in text.split():
        first, _, last = word.partition("..")
        out += list(range(int(first), int(last or first) + 1))
    return out


# auxskd.md 3.1: start, segment, pace, N, frames with look-ahead 1 (VSPP), with look-ahead 3 (auxSKD)
FRAMES = [
    (1, 1, 1, 300, "1..16", "1..16"),
    (1, 1, 4, 300, "1 5 9 13 17..28", None),
    (1, 2, 4, 300, "1..4 8 12 16 20 24..31", None),
    (1, 3, 4, 300, "1..8 12 16 20 24 28..31", None),
    (1, 4, 4, 300, "1..12 16 20 24 28", None),
    (1, 2, 2, 300, "1..4 6 8 10 12 14..21", None),
    (10, 2, 3, 300, "10..13 16 19 22 25 28..35", None),
    (17, 1, 4, 33, "17 21 25 29 33 1..11", "17 21 25 1 5..16"),
    (17, 2, 4, 33, "17..20 24 28 32 1 5..12", "17..20 24 1 5 9 13..20"),
    (17, 4, 4, 33, "17..28 32 1 5 9", None),
    (13, 3, 4, 29, "13..20 24 28 1 5 9..12", "13..20 24 1 5 9 13..16"),
]


@pytest.mark.parametrize(("start", "segment", "pace", "num_frames", "vspp", "aux"), FRAMES)
def test_frame_lists_of_the_official_code(start, segment, pace, num_frames, vspp, aux):
    for lookahead, expected in ((1, vspp), (3, aux or vspp)):
        sampler = PacedClips(lookahead=lookahead)
        frames = sampler.indices(start - 1, pace, segment - 1, num_frames)
        assert (frames + 1).tolist() == spans(expected)


def closed_form(start, j, r, n, c):
    """The spec's 1-based recursion, written again from the text."""
    lo, hi = 4 * (j - 1), 4 * j
    f = [start]
    for i in range(15):
        here = r if lo <= i <= hi else 1
        there = r if lo <= i + 1 <= hi else 1
        f.append(1 if f[i] + c * here > n else f[i] + there)
    return f


@pytest.mark.parametrize("lookahead", [1, 3])
def test_closed_form_on_ten_thousand_draws(lookahead):
    rng = np.random.default_rng(lookahead)
    sampler = PacedClips(lookahead=lookahead)
    for _ in range(10_000):
        n = int(rng.integers(29, 301))
        start, j, r = int(rng.integers(1, n - 15)), int(rng.integers(1, 5)), int(rng.integers(1, 5))
        frames = (sampler.indices(start - 1, r, j - 1, n) + 1).tolist()
        assert frames == closed_form(start, j, r, n, lookahead)
        assert min(frames) >= 1
        assert max(frames) <= n


def test_strides_per_segment():
    assert [PacedClips().strides(4, j).count(4) for j in range(4)] == [5, 5, 5, 4]
    assert [PacedClips(inclusive_end=False).strides(4, j).count(4) for j in range(4)] == [4, 4, 4, 4]


def test_labels_are_uniform_and_say_what_the_clip_does():
    sampler, counts = PacedClips(), np.zeros((4, 4))
    for i in range(4000):
        plan = sampler(meta(300), seeded("labels", i))
        pace, segment = int(plan.targets["pace"]), int(plan.targets["segment"])
        counts[pace, segment] += 1
        if i < 300:
            steps = plan.views["clips"][0].diff()
            steps = steps[steps > 0]  # a wrap jumps back
            assert int(steps.max()) == pace + 1
    sigma = np.sqrt(4000 / 16 * (15 / 16))
    assert np.abs(counts - 250).max() < 5 * sigma


def test_different_clips_share_neither_pace_nor_segment():
    """auxskd.md 10, check 5: 12,000 samples."""
    sampler = PacedClips(clips=2, pace_across="different", segment_across="different", lookahead=3)
    pairs = {"pace": np.zeros((4, 4)), "segment": np.zeros((4, 4))}
    starts = np.zeros((12_000, 2))
    for i in range(12_000):
        plan = sampler(meta(200), seeded("distinct", i))
        targets, starts[i] = plan.targets, plan.views["clips"][:, 0]
        for name, table in pairs.items():
            first, second = targets[name].tolist()
            assert first != second
            table[first, second] += 1
    sigma = np.sqrt(12_000 / 12 * (11 / 12))
    for table in pairs.values():
        assert np.abs(table[~np.eye(4, dtype=bool)] - 1000).max() < 5 * sigma
    assert (starts.min(), starts.max()) == (0, 200 - 16 - 1)  # U{1..N-16}, 1-based, for both
    assert abs(np.corrcoef(starts.T)[0, 1]) < 5 / np.sqrt(12_000)  # independent: they may lie far apart


@pytest.mark.parametrize(("pace", "segment"), [("same", "different"), ("different", "same"), ("independent", "same")])
def test_pace_and_segment_across_the_clips_are_set_apart(pace, segment):
    sampler = PacedClips(clips=2, pace_across=pace, segment_across=segment)
    drawn = [sampler(meta(200), seeded("across", i)).targets for i in range(400)]
    for name, across in (("pace", pace), ("segment", segment)):
        equal = np.mean([targets[name][0].item() == targets[name][1].item() for targets in drawn])
        low, high = {"same": (1.0, 1.0), "different": (0.0, 0.0), "independent": (0.14, 0.36)}[across]
        assert low <= equal <= high  # 0.25 +- 5 sigma
        assert {int(targets[name][0]) for targets in drawn} == {0, 1, 2, 3}


def test_clamp_never_wraps_where_the_video_is_long_enough():
    sampler = PacedClips(wrap="clamp", inclusive_end=False)
    for i in range(500):
        frames = sampler(meta(64), seeded("clamp", i)).views["clips"][0]
        assert (frames.diff() > 0).all()
    wrapped = [PacedClips()(meta(33), seeded("code", i)).views["clips"][0].diff().min() < 0 for i in range(500)]
    assert any(wrapped)  # the official code does


def test_excluding_the_natural_pace():
    sampler = PacedClips(exclude_natural_pace=True, paces=5)
    paces = {int(sampler(meta(300), seeded(i)).targets["pace"]) for i in range(300)}
    assert paces == {1, 2, 3, 4}


def test_temporal_statistics_of_the_window():
    """VITO check 9: 64 positions at 25 fps, with replacement."""
    sampler = WindowFrames(views=2, window_s=2.56)
    frames = torch.stack([sampler(meta(64), seeded("window", i)).views["frames"][:, 0] for i in range(40_000)])
    gap = (frames[:, 0] - frames[:, 1]).abs()
    assert gap.float().mean().item() / 25 == pytest.approx(0.853125, abs=0.012)
    assert gap.median().item() / 25 == pytest.approx(0.76, abs=0.021)
    assert (gap == 0).float().mean().item() == pytest.approx(1 / 64, abs=0.003)
    assert (gap <= 19).float().mean().item() == pytest.approx(0.516602, abs=0.01)
    assert (gap > 32).float().mean().item() == pytest.approx(0.242188, abs=0.01)


def test_uniform_chunks():
    sampler = WindowFrames(views=3, window_s=2.56, scheme="uniform")
    frames = torch.stack([sampler(meta(64), seeded("chunks", i)).views["frames"][:, 0] for i in range(40_000)])
    gaps = torch.cat([(frames[:, a] - frames[:, b]).abs() for a, b in ((0, 1), (0, 2), (1, 2))]) / 25
    assert gaps.mean().item() == pytest.approx(1.138, abs=0.012)
    assert gaps.median().item() == pytest.approx(1.082, abs=0.045)  # the grid of frames is 0.04 s


def test_uniform_chunks_on_a_fine_grid():
    """VITO check 9 within its own 0.01 s: at 1000 fps the grid of frames does not show."""
    sampler = WindowFrames(views=3, window_s=2.56, scheme="uniform")
    frames = torch.stack([sampler(meta(2560, 1000.0), seeded("fine", i)).views["frames"][:, 0] for i in range(40_000)])
    gaps = torch.cat([(frames[:, a] - frames[:, b]).abs() for a, b in ((0, 1), (0, 2), (1, 2))]) / 1000
    assert gaps.mean().item() == pytest.approx(1.138, abs=0.01)
    assert gaps.median().item() == pytest.approx(1.082, abs=0.01)


@pytest.mark.parametrize("scheme", ["delta", "single_pair"])
def test_a_fixed_gap_in_seconds_placed_anywhere(scheme):
    sampler = WindowFrames(views=3, scheme=scheme, gap_s=0.4)
    plans = [sampler(meta(100)._replace(row=i), seeded("delta", i)).views["frames"][:, 0] for i in range(3000)]
    assert {tuple(p.diff().tolist()) for p in plans} == {(10, 10)}
    starts = torch.stack(plans)[:, 0]
    assert set(starts.tolist()) == set(range(80))
    assert starts.float().mean().item() == pytest.approx(39.5, abs=5 * 23.1 / 3000**0.5)
    at_50 = sampler(meta(200, 50.0), seeded(0)).views["frames"][:, 0]
    assert at_50.diff().tolist() == [20, 20]
    short = {tuple(sampler(meta(8)._replace(row=i), seeded(i)).views["frames"][:, 0].tolist()) for i in range(50)}
    assert short == {(0, 3, 6), (1, 4, 7)}
    assert sampler(meta(1), seeded(0)).views["frames"].flatten().tolist() == [0, 0, 0]


def test_a_gap_of_zero_is_one_frame():
    sampler = WindowFrames(views=2, scheme="delta", gap_s=0.0)
    frames = torch.stack([sampler(meta(50), seeded(i)).views["frames"][:, 0] for i in range(500)])
    assert torch.equal(frames[:, 0], frames[:, 1])
    assert set(frames[:, 0].tolist()) == set(range(50))


def test_a_single_pair_is_the_videos_own_and_never_drawn_again():
    pair = WindowFrames(views=2, scheme="single_pair")
    drawn = [[pair(meta(250)._replace(row=r), seeded(e, r)).views["frames"] for e in range(20)] for r in range(40)]
    assert all(torch.equal(first, other) for first, *others in drawn for other in others)
    assert len({int(first[0]) for first, *_ in drawn}) > 20  # videos of one length still differ
    delta = WindowFrames(views=2, scheme="delta")
    again = [int(delta(meta(250)._replace(row=0), seeded(e, 0)).views["frames"][0]) for e in range(20)]
    assert len(set(again)) > 10  # the scheme that it freezes is not fixed by itself


def test_window_is_the_video_when_that_is_shorter_and_moves_when_it_is_longer():
    short = torch.cat([WindowFrames()(meta(10), seeded(i)).views["frames"].flatten() for i in range(300)])
    assert set(short.tolist()) == set(range(10))
    starts = [WindowFrames()(meta(250), seeded(i)).views["frames"] for i in range(300)]
    assert all(int(f.max() - f.min()) < 64 for f in starts)
    assert max(int(f.max()) for f in starts) > 200


def test_uniform_clips_are_centred_like_linspace():
    plan = UniformClips(clips=10, frames=16)(meta(300), seeded(0)).views["clips"]
    centres = plan[:, 0].double() + 8
    torch.testing.assert_close(centres, torch.linspace(8, 292, 10, dtype=torch.float64), rtol=0, atol=0.5)
    assert UniformClips(clips=10, frames=1)(meta(48), seeded(0)).views["clips"][[0, -1], 0].tolist() == [0, 47]
    assert int(UniformClips(clips=3, frames=16)(meta(5), seeded(0)).views["clips"].max()) == 4


SCHEMES = ["marginal", "uniform", "delta", "single_pair"]
SAMPLERS = st.one_of(
    st.builds(WindowFrames, views=st.integers(1, 4), scheme=st.sampled_from(SCHEMES), gap_s=st.floats(0, 9)),
    st.builds(
        PacedClips,
        clips=st.integers(1, 3),
        frames=st.sampled_from([4, 8, 16]),
        lookahead=st.integers(1, 3),
        inclusive_end=st.booleans(),
        wrap=st.sampled_from(["code", "clamp"]),
    ),
    st.builds(UniformClips, clips=st.integers(1, 10), frames=st.integers(1, 16), stride=st.integers(1, 8)),
)


@given(SAMPLERS, st.integers(1, 400), st.integers(0, 2**31))
def test_plans_are_legal_and_replayable(sampler, num_frames, seed):
    assert isinstance(sampler, ViewSampler)
    assert sampler.accepts(meta(num_frames))
    plan, again = (sampler(meta(num_frames), seeded(seed)) for _ in range(2))
    for name, frames in plan.views.items():
        assert frames.dtype == torch.int64
        assert frames.dim() == 2
        assert int(frames.min()) >= 0
        assert int(frames.max()) < num_frames
        assert torch.equal(frames, again.views[name])
    assert all(torch.equal(value, again.targets[name]) for name, value in plan.targets.items())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"frames": 18}, r"frames=18: must be a multiple of segments=4\. Try frames=16\."),
        ({"clips": 5, "pace_across": "different"}, r"clips=5: there are 4 different paces\. Try clips=4\."),
        ({"clips": 3, "segments": 2, "segment_across": "different"}, r"clips=3: there are 2 different segments"),
        ({"paces": 1, "exclude_natural_pace": True}, r"paces=1: without the natural pace"),
        ({"frames": 0}, r"frames=0: must be positive"),
    ],
)
def test_illegal_settings_are_refused_with_a_remedy(settings, says):
    with pytest.raises(UserError, match=says):
        PacedClips(**settings)


def test_a_negative_gap_is_refused():
    with pytest.raises(UserError, match=r"gap_s=-1\.0: must not be negative\. Try gap_s=0\.76\."):
        WindowFrames(gap_s=-1.0)
