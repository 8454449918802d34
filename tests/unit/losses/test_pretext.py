"""Cross-entropies of the pretexts: chance, and a NumPy loop."""

import math

import numpy as np
import pytest
import torch

from vssl.losses import clip_order, pace, segment


@pytest.mark.parametrize(
    ("loss", "classes", "chance"), [(pace, 4, 1.3863), (segment, 4, 1.3863), (clip_order, 6, 1.7918)]
)
def test_equals_a_numpy_loop(loss, classes, chance):
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(7, classes)), rng.integers(classes, size=7)
    expected = 0.0
    for row, label in zip(logits, labels, strict=True):
        expected -= math.log(math.exp(row[label]) / sum(math.exp(v) for v in row)) / len(labels)
    assert loss(torch.from_numpy(logits), torch.from_numpy(labels)).item() == pytest.approx(expected, rel=1e-12)
    wrong = loss(torch.from_numpy(logits), torch.from_numpy((labels + 1) % classes))
    assert wrong.item() != pytest.approx(expected, rel=1e-3)
    assert loss(torch.zeros(7, classes), torch.from_numpy(labels)).item() == pytest.approx(chance, abs=1e-4)
