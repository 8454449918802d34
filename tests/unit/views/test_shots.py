"""The sampler of shots: VIVI check 12 (what it may and may not mix), placement, speed, refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vssl.errors import UserError
from vssl.seeds import seeded
from vssl.types import VideoMeta
from vssl.views import Shots, ViewSampler


def meta(num_frames, cuts=None, fps=25.0):
    return VideoMeta(num_frames, fps, 240, 320, cuts)


def rows(sampler, video, seed=0):
    return sampler(video, seeded(seed)).views["shots"]


def owner(frames, cuts):
    """The shot each frame lies in."""
    return np.searchsorted(np.array(cuts), frames.numpy(), side="right")


CUTS = (40, 100, 160, 170, 260)


@pytest.mark.parametrize("shots", [2, 4, 6])
def test_consecutive_shots_and_frames_of_one_shot_each(shots):
    sampler, firsts = Shots(shots=shots, frames=8), np.zeros(len(CUTS) + 1)
    for i in range(2000):
        frames = rows(sampler, meta(300, CUTS), i)
        assert frames.shape == (shots, 8)
        owners = owner(frames, CUTS)
        assert (owners == owners[:, :1]).all()
        assert (np.diff(owners[:, 0]) == 1).all()
        firsts[owners[0, 0]] += 1
    runs = len(CUTS) + 2 - shots
    assert (firsts[runs:] == 0).all()
    sigma = np.sqrt(2000 / runs * (1 - 1 / runs))
    assert np.abs(firsts[:runs] - 2000 / runs).max() <= 5 * sigma


def test_frames_that_ignore_the_cuts_would_mix_shots():
    mixed = [rows(Shots(shots=2, frames=8, shots_from="equal"), meta(300, (75, 76)), i) for i in range(200)]
    assert any(len(set(owner(f[0], (75, 76)))) > 1 for f in mixed)  # 75 lies inside the first half


def test_frames_are_a_tenth_of_a_second_apart_or_consecutive():
    for fps, source, mean in ((10.0, 25.0, 2.5), (10.0, 30.0, 3.0), (5.0, 25.0, 5.0), (None, 25.0, 1.0)):
        frames = rows(Shots(frames=9, fps=fps), meta(2000, fps=source)).double()
        assert ((frames[:, -1] - frames[:, 0]) / 8).tolist() == [mean] * 4
    assert (rows(Shots(fps=100.0), meta(800)).diff() == 1).all()  # never more than the video has


def test_a_shot_that_is_too_short_wraps_inside_itself():
    frames = rows(Shots(shots=2, frames=8, fps=None), meta(60, (3, 6)), 4)
    owners = owner(frames, (3, 6))
    assert (owners == owners[:, :1]).all()
    short = frames[owners[:, 0] < 2]
    assert len(short)
    assert all(set(row.tolist()) == set(range(int(row.min()), int(row.min()) + 3)) for row in short)


def test_where_shots_come_from():
    none, two, four = meta(100), meta(100, (50,)), meta(100, (20, 40, 60))
    auto, detected, equal = (Shots(shots_from=how) for how in ("auto", "detected", "equal"))
    assert [detected.accepts(m) for m in (none, two, four)] == [False, False, True]
    assert all(s.accepts(m) for s in (auto, equal) for m in (none, two, four))
    assert not any(s.accepts(meta(0, ())) for s in (auto, detected, equal))
    says = lambda s, m: float(s(m, seeded(0)).targets["detected"])
    assert [says(auto, m) for m in (none, two, four)] == [0.0, 0.0, 1.0]
    assert says(equal, four) == 0.0
    assert Shots(shots=2, shots_from="detected").accepts(two)  # K - 1 cuts are K shots
    assert not Shots(shots=2, shots_from="detected").accepts(meta(100, ()))


def test_equal_parts():
    for i in range(100):
        frames = rows(Shots(shots=4, frames=3, shots_from="equal"), meta(100), i)
        assert (owner(frames, (25, 50, 75)) == np.arange(4)[:, None]).all()
    assert rows(Shots(shots=4), meta(1)).unique().tolist() == [0]
    assert rows(Shots(shots=4, frames=2, fps=None), meta(3)).shape == (4, 2)


def test_one_frame_over_and_over():
    frames = rows(Shots(repeat_frame=True), meta(400, CUTS))
    assert (frames == frames[:, :1]).all()
    assert len(frames[:, 0].unique()) == 4
    starts = {int(rows(Shots(repeat_frame=True, shots_from="equal"), meta(8), i)[0, 0]) for i in range(100)}
    assert starts == {0, 1}


@given(
    st.builds(
        Shots,
        shots=st.integers(2, 5),
        frames=st.integers(1, 9),
        fps=st.sampled_from([None, 1.0, 10.0]),
        shots_from=st.sampled_from(["auto", "equal"]),
    ),
    st.integers(1, 400),
    st.integers(0, 2**31),
    st.lists(st.integers(1, 399), max_size=8, unique=True),
)
def test_plans_are_legal_replayable_and_never_mix_shots(sampler, num_frames, seed, cuts):
    inside = tuple(sorted(c for c in cuts if c < num_frames))
    video = meta(num_frames, inside)
    assert isinstance(sampler, ViewSampler)
    assert sampler.accepts(video)
    plan, again = (sampler(video, seeded(seed)) for _ in range(2))
    frames = plan.views["shots"]
    assert frames.dtype == torch.int64
    assert frames.shape == (sampler.shots, sampler.frames)
    assert int(frames.min()) >= 0
    assert int(frames.max()) < num_frames
    assert torch.equal(frames, again.views["shots"])
    if plan.targets["detected"] == 1.0:
        assert all(len(set(owner(row, inside))) == 1 for row in frames)


@pytest.mark.parametrize("settings", [{"shots": 1}, {"frames": 0}, {"fps": 0.0}])
def test_illegal_settings_are_refused(settings):
    with pytest.raises(UserError, match=r"Try"):
        Shots(**settings)
