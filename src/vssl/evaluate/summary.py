"""One table per data set and label: every encoder's scores under all protocols side by side. No torch.

A column is one protocol, by its fingerprint; nothing is ranked across columns.
"""

from typing import NamedTuple

import numpy as np

from vssl.evaluate import words
from vssl.evaluate.protocol import HARD
from vssl.evaluate.result import BASELINE, RANDOM, TRAINED
from vssl.evaluate.rows import Group, Row
from vssl.evaluate.stats import BEATS, BELOW

_TASKS = ("finetune", "linear", "attentive", "knn", "retrieval", "fewshot", "temporal")
"""Order of the columns; others come after."""
_KINDS = (TRAINED, RANDOM, BASELINE)


class Cell(NamedTuple):
    """One score: the ranking metric, in percent, over the splits that the ranked rows share."""

    text: str
    best: bool = False
    """First in its group, or not told from the first."""


class Line(NamedTuple):
    """One encoder."""

    row: Row
    """Its row in some group: what does not depend on the protocol."""
    labels: str
    """Used in pretraining."""
    cells: list[Cell]


class Summary(NamedTuple):
    """One data set and label."""

    dataset: str
    label: str
    manifest: str
    columns: list[str]
    """Protocol and metric."""
    fingerprints: list[str]
    splits: list[str]
    """What each column is the mean over."""
    lines: list[Line]


def build(groups: list[Group]) -> list[Summary]:
    """Summaries in the order of the groups."""
    places = dict.fromkeys((g.key.dataset, g.key.label, g.key.manifest) for g in groups)
    return [_summary([g for g in groups if (g.key.dataset, g.key.label, g.key.manifest) == place]) for place in places]


def _summary(groups: list[Group]) -> Summary:
    protocols = {g.key.fingerprint: g for g in reversed(groups)}
    order = sorted(protocols, key=lambda f: (_place(protocols[f]), protocols[f].record["name"], f))
    found: dict[tuple[str, str], Line] = {}
    for group in groups:
        for i, row in enumerate(group.rows):
            labels = words.labels(row)
            line = found.setdefault((row.family, labels), Line(row, labels, [Cell("")] * len(order)))
            head = protocols[group.key.fingerprint]
            line.cells[order.index(group.key.fingerprint)] = _cell(group, i, head=_splits(head), many=line.row.many)
    names = [protocols[f].record["name"] for f in order]
    heads = [f"{name} ({f})" if names.count(name) > 1 else name for name, f in zip(names, order, strict=True)]
    columns = [f"{head} {words.heading(protocols[f].metrics[0])}" for head, f in zip(heads, order, strict=True)]
    key = groups[0].key
    splits = [", ".join(map(str, _splits(protocols[f]))) for f in order]
    lines = sorted(found.values(), key=lambda line: _KINDS.index(line.row.kind))
    return Summary(key.dataset, key.label, key.manifest, columns, order, splits, lines)


def _place(group: Group) -> int:
    task = group.record[HARD]["task"]
    return _TASKS.index(task) if task in _TASKS else len(_TASKS)


def _splits(group: Group) -> list[int]:
    return group.ranked_on or group.splits


def _cell(group: Group, place: int, *, head: list[int], many: str) -> Cell:
    """A score; says so where it is over other splits than the column's, or other runs than the line's."""
    row = group.rows[place]
    shared = [split for split in group.ranked_on if split in row.clean]
    splits = shared or row.clean
    if not splits:
        return Cell("LEAKED")
    value = float(np.mean([np.mean(row.values[split]) for split in splits]))
    own = "" if splits == head else f" (s{','.join(map(str, splits))})"
    own += "" if row.many == many else f" ({row.many or 'one run'})"
    return Cell(f"{value:.1f}{own}", _best(group, place))


def _best(group: Group, place: int) -> bool:
    """Whether a row leads, or its difference to the leader is not resolved."""
    ranked = [i for i, row in enumerate(group.rows) if row.rank]
    if len(ranked) < 2 or place not in ranked:
        return False
    return place == ranked[0] or group.pairs[ranked[0], place].verdict not in (BEATS, BELOW)
