"""Intervals and paired comparison by bootstrap over source groups. numpy only.

Videos cut from one source are not independent, so whole groups are drawn with replacement, not videos.
"""

import functools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

NUM_RESAMPLES = 10_000
MIN_VIDEOS, MIN_GROUPS = 200, 20
LEVEL = 95.0
BEATS, BELOW, UNRESOLVED, FEW = "beats", "below", "not resolved", "too few videos"
_CELLS = 4_000_000
"""Upper bound on a block of resampling weights: resamples * groups."""


class Interval(NamedTuple):
    """A mean in percent with its 95 % interval."""

    mean: float
    low: float
    high: float


class Comparison(NamedTuple):
    """A paired difference in points with its 95 % interval, over num_videos videos from num_groups groups."""

    difference: float
    low: float
    high: float
    num_videos: int
    num_groups: int
    verdict: str


class Runs(NamedTuple):
    """Mean and standard deviation (n - 1) over runs of one method, in percent."""

    mean: float
    sd: float
    num_runs: int


class Scores(NamedTuple):
    """One number per video of one split."""

    ids: Int[np.ndarray, " n"]
    """Rows of the manifest."""
    groups: Int[np.ndarray, " n"]
    """Source group of each video; a video without one is its own."""
    values: Float[np.ndarray, " n"]


def interval(splits: list[Scores], *, seed: int = 0) -> Interval:
    """Mean over splits of the mean over videos, in percent, and the 95 % interval over groups."""
    sums, sizes = _tables(splits)
    mean = float(np.mean([100 * split.values.mean() for split in splits]))
    return Interval(mean, *_ends(resample(sums, sizes, seed=seed)))


def compare(ours: list[Scores], theirs: list[list[Scores]], *, seed: int = 0) -> Comparison:
    """Ours minus the mean of theirs, on the videos that all have; paired, so what is hard for both cancels.

    `ours` is a list over splits; `theirs` holds one such list per control, over the same splits. "beats": at least 200
    videos of at least 20 source groups and a 95 % interval above 0.
    """
    (found,) = compare_all([(ours, theirs)], seed=seed)
    return found


def compare_all(pairs: list[tuple[list[Scores], list[list[Scores]]]], *, seed: int = 0) -> list[Comparison]:
    """As `compare`, for many pairs: those with as many groups share their draws."""
    differences = [
        [split for s, own in enumerate(ours) if len((split := _paired(own, [their[s] for their in theirs])).ids)]
        for ours, theirs in pairs
    ]
    tables = {i: _tables(splits) for i, splits in enumerate(differences) if splits}
    drawn: dict[int, np.ndarray] = {}
    for num_groups in sorted({sums.shape[1] for sums, _ in tables.values()}):
        same = [i for i, (sums, _) in tables.items() if sums.shape[1] == num_groups]
        drawn |= dict(zip(same, resample_all([tables[i] for i in same], seed=seed), strict=True))
    return [_comparison(splits, drawn.get(i)) for i, splits in enumerate(differences)]


def _comparison(splits: list[Scores], drawn: Float[np.ndarray, " r"] | None) -> Comparison:
    if drawn is None:
        return Comparison(0.0, -100.0, 100.0, 0, 0, FEW)
    videos = np.unique(np.concatenate([split.ids for split in splits]))
    groups = np.unique(np.concatenate([split.groups for split in splits]))
    mean, (low, high) = float(np.mean([100 * split.values.mean() for split in splits])), _ends(drawn)
    return Comparison(mean, low, high, len(videos), len(groups), verdict(low, high, len(videos), len(groups)))


def _ends(drawn: Float[np.ndarray, " r"]) -> tuple[float, float]:
    low, high = np.percentile(100 * drawn, [50 - LEVEL / 2, 50 + LEVEL / 2])
    return float(low), float(high)


def over_runs(values: list[float]) -> Runs:
    """Spread over pretraining seeds or pretraining splits; at least two runs."""
    return Runs(float(np.mean(values)), float(np.std(values, ddof=1)), len(values))


def verdict(low: float, high: float, num_videos: int, num_groups: int) -> str:
    """What may be said about a difference with this interval."""
    if num_videos < MIN_VIDEOS or num_groups < MIN_GROUPS:
        return FEW
    if low > 0:
        return BEATS
    return BELOW if high < 0 else UNRESOLVED


def resample(
    sums: Float[np.ndarray, "s g"],
    sizes: Float[np.ndarray, "s g"],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Float[np.ndarray, " r"]:
    """Bootstrap distribution of the mean over splits of sum / size, groups drawn with replacement, jointly over splits.

    A split of which a resample drew no group is left out of that resample's mean.
    """
    return resample_all([(sums, sizes)], num_resamples=num_resamples, seed=seed)[0]


def resample_all(
    tables: list[tuple[np.ndarray, np.ndarray]], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> list[np.ndarray]:
    """As `resample`, for tables of sums and sizes with the same number of groups, with the same draws for all."""
    means: list[list[np.ndarray]] = [[] for _ in tables]
    for weights in _draws(tables[0][0].shape[1], num_resamples, seed):
        for own, (sums, sizes) in zip(means, tables, strict=True):
            size = weights @ sizes.T
            per_split = np.divide(weights @ sums.T, size, out=np.zeros_like(size), where=size > 0)
            own.append(per_split.sum(axis=1) / np.maximum((size > 0).sum(axis=1), 1))
    return [np.concatenate(own) for own in means]


def _draws(num_groups: int, num_resamples: int, seed: int) -> Iterable[np.ndarray]:
    """Blocks (rows, groups) of how often each group is drawn; the rows of a table ask for the same draws again."""
    block = max(1, _CELLS // num_groups)
    if block >= num_resamples:
        return (_block(num_groups, num_resamples, seed),)
    rng = np.random.default_rng(seed)
    return (_draw(num_groups, min(block, num_resamples - start), rng) for start in range(0, num_resamples, block))


@functools.lru_cache(maxsize=4)
def _block(num_groups: int, num_resamples: int, seed: int) -> np.ndarray:
    return _draw(num_groups, num_resamples, np.random.default_rng(seed))


def _draw(num_groups: int, rows: int, rng: np.random.Generator) -> np.ndarray:
    drawn = rng.integers(num_groups, size=(rows, num_groups)) + np.arange(rows)[:, None] * num_groups
    return np.bincount(drawn.ravel(), minlength=rows * num_groups).reshape(rows, num_groups).astype(float)


def mean_of(found: list[Scores]) -> Scores:
    """Per-video mean of several encoders' scores, on the videos that all have."""
    common = found[0].ids
    for scores in found[1:]:
        common = np.intersect1d(common, scores.ids)
    parts = [_at(scores, common) for scores in found]
    return Scores(common, parts[0].groups, np.mean([part.values for part in parts], axis=0))


def _paired(ours: Scores, theirs: list[Scores]) -> Scores:
    """Per-video differences on the common videos."""
    mean = mean_of(theirs)
    common = np.intersect1d(ours.ids, mean.ids)
    own = _at(ours, common)
    return Scores(common, own.groups, own.values - _at(mean, common).values)


def _at(scores: Scores, ids: Int[np.ndarray, " m"]) -> Scores:
    order = np.argsort(scores.ids, kind="stable")
    place = order[np.searchsorted(scores.ids, ids, sorter=order)]
    return Scores(scores.ids[place], scores.groups[place], scores.values[place])


def _tables(splits: list[Scores]) -> tuple[np.ndarray, np.ndarray]:
    """Sum of values and number of videos, per split and group."""
    every = np.unique(np.concatenate([split.groups for split in splits]))
    sums, sizes = np.zeros((len(splits), len(every))), np.zeros((len(splits), len(every)))
    for s, split in enumerate(splits):
        index = np.searchsorted(every, split.groups)
        sums[s] = np.bincount(index, weights=split.values, minlength=len(every))
        sizes[s] = np.bincount(index, minlength=len(every))
    return sums, sizes
