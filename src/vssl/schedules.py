"""Schedules are pure functions of the step: nothing counts for itself, so nothing is forgotten by a resume."""

import math


def cosine(step: float, total: float, *, start: float, end: float) -> float:
    """Half a cosine from `start` at step 0 to `end` at `total` and after."""
    progress = min(max(step / total, 0.0), 1.0) if total > 0 else 1.0
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))


def warmup_cosine(step: float, total: float, *, warmup: float, start: float = 0.0, floor: float = 0.0) -> float:
    """A factor for the learning rate: linear from `start` to 1 over `warmup` steps, then cosine to `floor`."""
    if step < warmup:
        return start + (1.0 - start) * step / warmup
    return cosine(step - warmup, total - warmup, start=1.0, end=floor)


def warmup_into_cosine(step: float, total: float, *, warmup: float, start: float = 0.0, floor: float = 0.0) -> float:
    """A factor for the learning rate: half a cosine over all `total` steps; the warm-up rises to its value there.

    PySlowFast's: the peak of 1 is never reached (iboot.md 5).
    """
    if step < warmup:
        return start + (cosine(warmup, total, start=1.0, end=floor) - start) * step / warmup
    return cosine(step, total, start=1.0, end=floor)


def warmup_steps(
    step: float, milestones: tuple[float, ...], *, gamma: float, warmup: float = 0.0, start: float = 0.0
) -> float:
    """A factor for the learning rate: linear warm-up, then times `gamma` at every milestone reached."""
    if step < warmup:
        return start + (1.0 - start) * step / warmup
    return gamma ** sum(step >= milestone for milestone in milestones)
