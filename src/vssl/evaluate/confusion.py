"""What is taken for what: confusion of a row's answers, as a picture and in words. No torch."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from vssl.evaluate import words
from vssl.evaluate.rows import Group, Row

MAX_NAMES = 24
"""Up to so many classes are named in the picture."""
_LEVELS = 10
_SHOWN = 8


class Heat(NamedTuple):
    """A heat map, a unit square per pair of classes: row the true one, column the answer."""

    who: str
    num_classes: int
    levels: list[tuple[float, str]]
    """Opacity and SVG path of the cells of that level; the share of the row's answers, in tenths."""
    names: list[str]
    """Of the classes in order; none where they are too many."""
    frequent: list[str]
    """The most frequent mistakes, in words."""
    alt: str


def counts(row: Row) -> Int[np.ndarray, "c c"]:
    """Answers (column) per true class (row), over the clean splits and the runs."""
    size = len(row.first.classes)
    found = np.zeros((size, size), dtype=np.int64)
    for result in _clean(row):
        np.add.at(found, (np.asarray(result.predictions["true"]), np.asarray(result.predictions["predicted"])), 1)
    return found


def heat(group: Group, row: Row) -> Heat | None:
    """The picture of a row; None where it has no clean split."""
    if not row.clean or group.record["hard"].get("task") == "temporal":  # two paces: the score says it all
        return None
    found, classes = counts(row), row.first.classes
    share = found / np.maximum(found.sum(axis=1, keepdims=True), 1)
    level = np.ceil(share * _LEVELS).astype(int)
    levels = [(n / _LEVELS, _path(np.argwhere(level == n))) for n in range(1, _LEVELS + 1) if (level == n).any()]
    wrong = found - np.diag(np.diag(found))
    most = [divmod(int(i), len(classes)) for i in np.argsort(-wrong, axis=None, kind="stable")[:_SHOWN]]
    frequent = [
        f"{classes[t]} taken for {classes[p]}: {wrong[t, p]} of {found[t].sum()}" for t, p in most if wrong[t, p]
    ]
    right = f"{100 * np.trace(found) / max(found.sum(), 1):.0f} percent of {found.sum()} answers on the diagonal"
    alt = f"Confusion of {words.who(row)}, {len(classes)} classes: {right}. {'; '.join(frequent[:3])}"
    return Heat(words.who(row), len(classes), levels, classes if len(classes) <= MAX_NAMES else [], frequent, alt)


def _clean(row: Row) -> Iterable:
    return (result for split in row.clean for result in row.results[split])


def _path(cells: np.ndarray) -> str:
    """Unit squares; neighbours in a row are joined."""
    parts, i = [], 0
    while i < len(cells):
        y, x = cells[i]
        width = 1
        while i + width < len(cells) and tuple(cells[i + width]) == (y, x + width):
            width += 1
        parts.append(f"M{x} {y}h{width}v1h-{width}z")
        i += width
    return "".join(parts)
