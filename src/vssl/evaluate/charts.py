"""Numbers behind the pictures of the report, in percent of the picture's width or height. No drawing."""

import csv
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vssl import staged
from vssl.evaluate import words
from vssl.evaluate.rows import Group, Row
from vssl.evaluate.stats import Scores

LOSS, STEP = "train/loss", "step"
MAX_POINTS = 400
MAX_CLASSES = 20
"""More classes than this are shown as the ten most gained and the ten most lost."""


class Dot(NamedTuple):
    """One encoder in the dot plot: where its mean, interval and single values lie."""

    label: str
    detail: str
    kind: str
    x: float
    low: float
    high: float
    each: list[float]
    alt: str


class Axis(NamedTuple):
    """Places of round numbers, and of chance."""

    ticks: list[tuple[float, str]]
    chance: float
    chance_text: str


class Bar(NamedTuple):
    """Change of one class against random, in points; `left`, `width` and `zero` in percent of the picture."""

    name: str
    points: float
    num_videos: int
    left: float
    width: float
    zero: float


class Curve(NamedTuple):
    """Training loss over steps."""

    run: str
    points: str
    low: float
    high: float
    last_step: int
    alt: str


def dots(group: Group) -> tuple[list[Dot], Axis]:
    """Dot plot of a group; rows that are wholly leaked have no place in it."""
    rows = [row for row in group.rows if row.mean]
    every = [value for row in rows for values in row.values.values() for value in values]
    end = _round_up(max([row.mean.high for row in rows if row.mean] + every, default=100.0))
    found = [_dot(row, end) for row in rows]
    num_classes = len(group.rows[0].first.classes)
    chance = 100 / num_classes
    ticks = [(100 * tick / end, f"{tick:g}") for tick in np.linspace(0, end, 6)]
    return found, Axis(ticks, min(100.0, 100 * chance / end), f"{chance:.1f} % = 1 of {num_classes} classes")


def _dot(row: Row, end: float) -> Dot:
    assert row.mean
    label, detail = words.name(row), " ".join(filter(None, [words.run(row), words.backbone(row), words.shape(row)]))
    each = [v for split in row.clean for v in row.values[split]]
    alt = f"{label} {detail}: {row.mean.mean:.1f} percent, 95 percent interval {words.interval(row)}"
    x, low, high = (100 * value / end for value in row.mean)
    singles = [100 * v / end for v in each] if len(each) > 1 else []
    return Dot(label, detail, row.kind, x, low, high, singles, alt)


def bars(group: Group, row: Row) -> tuple[list[Bar], int]:
    """Per-class change of a trained row against its random initialisations; and how many classes were left out."""
    control = next((r for r in group.rows if r.kind == "random" and _same(r, row)), None)
    splits = [split for split in row.clean if control and split in control.results]
    columns = row.first.predictions
    if len(set(zip(columns["row"], columns["true"], strict=True))) > len(set(columns["row"])):
        return [], 0  # one video asked for several classes: no class owns its change
    if not control or not splits:
        return [], 0
    true = {s: dict(zip(*(row.results[s][0].predictions[c] for c in ("row", "true")), strict=True)) for s in splits}
    own, other = row.scores(splits), control.scores(splits)
    gains: dict[int, list[float]] = {}
    for s, a, b in zip(splits, own, other, strict=True):
        for video, change in _changes(a, b):
            gains.setdefault(true[s][video], []).append(change)
    classes = row.first.classes
    found = sorted(
        ((100 * float(np.mean(v)), classes[c], len(v)) for c, v in gains.items()), key=lambda g: (-g[0], g[1])
    )
    low, high = min([0.0, *[g[0] for g in found]]), max([1.0, *[g[0] for g in found]])
    shown = found if len(found) <= MAX_CLASSES else found[: MAX_CLASSES // 2] + found[-MAX_CLASSES // 2 :]
    return [_bar(*gain, low=low, high=high) for gain in shown], len(found) - len(shown)


def _bar(points: float, name: str, num_videos: int, *, low: float, high: float) -> Bar:
    scale = 100 / (high - low)
    zero, width = -low * scale, abs(points) * scale
    return Bar(name, points, num_videos, zero - width if points < 0 else zero, width, zero)


def _same(control: Row, row: Row) -> bool:
    a, b = control.first, row.first
    return (a.backbone["spec"], a.card) == (b.backbone["spec"], b.card)


def _changes(a: Scores, b: Scores) -> list[tuple[int, float]]:
    other = dict(zip(b.ids.tolist(), b.values.tolist(), strict=True))
    return [(v, x - other[v]) for v, x in zip(a.ids.tolist(), a.values.tolist(), strict=True) if v in other]


def curve(run: Path) -> Curve | None:
    """The run's training loss over all its parts (a resumed run has several files), or None if it wrote none."""
    earlier = [path for path in run.glob("metrics.*.csv") if path.name.split(".")[1].isdigit()]
    parts = [*sorted(earlier, key=lambda path: int(path.name.split(".")[1])), run / "metrics.csv"]
    points: dict[int, float] = {}
    for part in parts:
        if part.is_file():
            points |= _losses(part)
    if len(points) < 2:
        return None
    steps = sorted(points)
    steps = [steps[i] for i in np.unique(np.linspace(0, len(steps) - 1, MAX_POINTS).round().astype(int))]
    values = [points[step] for step in steps]
    low, high, last = min(values), max(values), steps[-1]
    span = high - low or 1.0
    line = " ".join(
        f"{100 * s / (last or 1):.2f},{95 - 90 * (v - low) / span:.2f}" for s, v in zip(steps, values, strict=True)
    )
    name = staged.name_of(run)
    alt = f"{name}: training loss from {values[0]:.3g} at step {steps[0]} to {values[-1]:.3g} at step {last}"
    return Curve(name, line, low, high, last, alt)


def _losses(path: Path) -> dict[int, float]:
    with path.open(newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if line.get(LOSS) and line.get(STEP)]
    found = {int(line[STEP]): float(line[LOSS]) for line in lines}
    return {step: value for step, value in found.items() if math.isfinite(value)}


def _round_up(value: float) -> float:
    """The end of a 0-based axis with five equal round steps."""
    return next(end for end in (5, 10, 20, 25, 50, 75, 100) if end >= min(value, 100.0))
