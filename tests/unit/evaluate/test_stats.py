import numpy as np
import pytest

from vssl.evaluate.stats import BEATS, BELOW, FEW, UNRESOLVED, Scores, compare, compare_all, interval, resample


def scores(values, *, groups=None, first=0):
    values = np.asarray(values, dtype=float)
    ids = np.arange(first, first + len(values))
    return Scores(ids, ids if groups is None else np.asarray(groups), values)


def test_resampling_equals_a_loop_over_groups():
    rng = np.random.default_rng(0)
    sums, sizes = rng.integers(0, 5, size=(2, 6)).astype(float), rng.integers(1, 6, size=(2, 6)).astype(float)
    found = resample(sums, sizes, num_resamples=50, seed=7)
    draws = np.random.default_rng(7).integers(6, size=(50, 6))
    for drawn, value in zip(draws, found, strict=True):
        per_split = [sum(sums[s, g] for g in drawn) / sum(sizes[s, g] for g in drawn) for s in range(2)]
        assert value == pytest.approx(np.mean(per_split), abs=1e-12)


def test_interval_of_independent_videos_is_the_binomial_one():
    rng = np.random.default_rng(1)
    found = interval([scores(rng.random(1000) < 0.6)])
    error = 1.96 * np.sqrt(found.mean * (100 - found.mean) / 1000)
    assert found.low == pytest.approx(found.mean - error, abs=0.3)
    assert found.high == pytest.approx(found.mean + error, abs=0.3)


def test_groups_widen_the_interval():
    right = np.repeat(np.random.default_rng(2).random(50) < 0.5, 20)  # videos of a source stand or fall together
    apart, together = interval([scores(right)]), interval([scores(right, groups=np.repeat(np.arange(50), 20))])
    assert together.high - together.low > 3 * (apart.high - apart.low)


def test_pairing_finds_what_the_intervals_alone_hide():
    rng = np.random.default_rng(3)
    theirs = rng.random(400) < 0.5
    ours = theirs | (rng.random(400) < 0.08)  # right wherever they are, and a little more
    found = compare([scores(ours)], [[scores(theirs)]])
    assert found.verdict == BEATS
    assert interval([scores(ours)]).low < interval([scores(theirs)]).high


@pytest.mark.parametrize(
    ("ours", "num", "expected"), [(0.7, 400, BEATS), (0.5, 400, UNRESOLVED), (0.3, 400, BELOW), (0.9, 199, FEW)]
)
def test_verdicts(ours, num, expected):
    rng = np.random.default_rng(4)
    controls = [[scores(rng.random(num) < 0.5)] for _ in range(3)]
    assert compare([scores(rng.random(num) < ours)], controls).verdict == expected


def test_difference_is_to_the_mean_of_the_controls_on_common_videos():
    ours = [scores([1, 1, 0, 1])]
    controls = [[scores([1, 0, 0], first=0)], [scores([1, 1, 0], first=1)]]
    # common videos 1 and 2; ours 1, 0; controls mean (0 + 1) / 2 and (0 + 1) / 2
    found = compare(ours, controls)
    assert found.difference == pytest.approx(100 * ((1 - 0.5) + (0 - 0.5)) / 2)
    assert found.num_videos == 2


def test_mean_over_splits_weighs_splits_not_videos():
    assert interval([scores([1.0] * 10), scores([0.0] * 30, first=100)]).mean == pytest.approx(50.0)


def test_no_common_video_says_nothing():
    found = compare([scores([1, 1])], [[scores([0, 0], first=10)]])
    assert (found.verdict, found.num_videos) == (FEW, 0)


def test_many_pairs_at_once_equal_each_alone():
    rng = np.random.default_rng(5)
    few, many = np.arange(300) // 10, np.arange(300) // 3
    found = [scores(rng.random(300) < 0.5, groups=groups) for groups in (few, few, many, many, few)]
    pairs = [([found[0]], [[found[1]]]), ([found[2]], [[found[3]]]), ([found[1]], [[found[0]], [found[4]]])]
    pairs.append(([found[0]], [[scores(np.ones(5), first=900)]]))  # not one video in common
    alone = [compare(*pair) for pair in pairs]
    assert compare_all(pairs) == alone
    assert len({(one.low, one.high) for one in alone}) == 4
    assert [one.verdict for one in alone][-1] == FEW
