"""What a readout is given and what it answers. n videos, D feature width."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from vssl.evaluate import protocol


class Part(NamedTuple):
    """The train or the test list of one split: its labelled videos whose features exist."""

    rows: np.ndarray
    """(n,) int64 rows of the manifest, ascending."""
    labels: np.ndarray
    """(n,) int64 class ids."""
    groups: np.ndarray
    """(n,) int64 source groups; a video without one is its own."""
    variants: Mapping[str, np.ndarray]
    """Variant of the clips (`views.variants`) -> (n, D) float32 features."""

    @property
    def features(self) -> np.ndarray:
        """(n, D) of the clips as they are."""
        return self.variants[protocol.NORMAL]


@dataclass(frozen=True)
class Answer:
    """Score of one encoder on one split, before it is put on record."""

    metrics: dict[str, float]
    """Percent."""
    rows: np.ndarray
    """(m,) rows of the manifest behind the first metric of the task; a row may occur several times."""
    predicted: np.ndarray
    true: np.ndarray
    classes: list[str]
    details: dict[str, Any] = field(default_factory=dict)
    """What was chosen, and how: plain values."""
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    """Trained weights; written beside the result."""


class Readout(Protocol):
    """From frozen features to a score; nothing may be chosen on the test part but what the protocol says."""

    def __call__(
        self, settings: protocol.Protocol, train: Part, test: Part, *, classes: list[str], device: str
    ) -> Answer:
        """Score."""
        ...


def percent(predicted: np.ndarray, true: np.ndarray) -> float:
    """Share of right answers."""
    return 100 * float((predicted == true).mean())
