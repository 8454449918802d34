"""What a comparison is made of: rows, one per encoder, in groups that may be ranked. Reads records only; no torch."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from vssl.evaluate import stats
from vssl.evaluate.protocol import HARD, METRICS, SOFT
from vssl.evaluate.result import Result
from vssl.evaluate.stats import Comparison, Interval, Scores


class GroupKey(NamedTuple):
    """Scores are ranked together only where all of these agree."""

    dataset: str
    label: str
    manifest: str
    fingerprint: str
    labels_used: str
    """Labels that pretraining used anywhere; "none" for self-supervised."""


@dataclass
class Row:
    """One encoder: a trained one, the mean of the random initialisations, or a baseline without a network."""

    kind: str
    name: str
    run: str
    results: dict[int, list[Result]]
    """Split -> results; several for the random initialisations and for runs of one recipe, else one."""
    flags: list[str] = field(default_factory=list)
    rank: int | None = None
    mean: Interval | None = None
    """Over the splits that are not leaked; None where all are."""
    versus: Comparison | None = None
    """Against the mean of the random initialisations of the same network."""
    runs: list["Row"] = field(default_factory=list)
    """Where it stands for several runs of one recipe: a row for each."""
    many: str = ""
    """What they are: `mean of 3 seeds`."""
    family: str = ""
    """Equal for the same encoder, or the runs of one recipe, in other groups."""
    seed: int | None = None
    """Of pretraining, where it is on record."""

    @property
    def first(self) -> Result:
        """Any result: card, backbone and pretraining are the same in all."""
        return next(iter(self.results.values()))[0]

    @property
    def clean(self) -> list[int]:
        """Splits that may be averaged."""
        return [split for split, found in sorted(self.results.items()) if not any(r.leaked for r in found)]

    @property
    def values(self) -> dict[int, list[float]]:
        """Split -> the ranking metric of each result."""
        return self.metric(self.first.ranking)

    def metric(self, name: str) -> dict[int, list[float]]:
        """Split -> a metric of each result."""
        return {split: [r.metrics[name] for r in found] for split, found in sorted(self.results.items())}

    def scores(self, splits: Iterable[int]) -> list[Scores]:
        """Per-video scores on these splits, averaged over the seeds or runs of a row."""
        return [stats.mean_of([r.scores() for r in self.results[split]]) for split in splits]

    def counts(self) -> tuple[int, int]:
        """Videos scored and listed, over all splits; the fewest that any of its results has."""
        found = [min(results, key=lambda r: r.num_scored) for results in self.results.values()]
        return sum(r.num_scored for r in found), sum(r.num_listed for r in found)

    def unread_gallery(self) -> tuple[int, int]:
        """Train videos that could not be read and all listed, over all splits; the most that any result lacks."""
        found = [min(results, key=lambda r: r.num_gallery) for results in self.results.values()]
        return sum(r.num_gallery_listed - r.num_gallery for r in found), sum(r.num_gallery_listed for r in found)


def identity(result: Result) -> str:
    """The network behind a result without its weights: spec and input."""
    return json.dumps([result.backbone["spec"], result.card], sort_keys=True)


def recipe(result: Result) -> str:
    """The soft fields of its protocol: scores that differ in them are ranked together, and are not one score."""
    return json.dumps(result.protocol[SOFT], sort_keys=True)


@dataclass
class Group:
    """Rows of one protocol on one data set and label."""

    key: GroupKey
    record: dict[str, Any]
    rows: list[Row]
    splits: list[int]
    notes: list[str] = field(default_factory=list)
    ranked_on: list[int] = field(default_factory=list)
    leader: Comparison | None = None
    """First against second ranked row."""

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that all rows have: the one that ranks, then the others."""
        have = [result.metrics for row in self.rows for found in row.results.values() for result in found]
        return [name for name in METRICS[self.record[HARD]["task"]] if all(name in metrics for metrics in have)]

    @cached_property
    def pairs(self) -> dict[tuple[int, int], Comparison]:
        """Paired difference between any two ranked rows, by their places in `rows`, the better one first."""
        able = [i for i, row in enumerate(self.rows) if row.rank]
        pairs = [(i, j) for n, i in enumerate(able) for j in able[n + 1 :]]
        scores = [(self.rows[i].scores(self.ranked_on), [self.rows[j].scores(self.ranked_on)]) for i, j in pairs]
        return dict(zip(pairs, stats.compare_all(scores), strict=True))
