"""VSPP's loss: chance, floor, and a NumPy loop."""

import math

import numpy as np
import pytest
import torch

from vssl.losses import segment_pace


def test_chance_is_twice_log_four():
    labels = torch.arange(8) % 4
    loss = segment_pace(torch.zeros(8, 4), torch.zeros(8, 4), labels, labels)
    assert loss.item() == pytest.approx(2.7726, abs=1e-4)


def test_equals_a_numpy_loop():
    rng = np.random.default_rng(1)
    pace_logits, segment_logits = rng.normal(size=(6, 4)), rng.normal(size=(6, 4))
    pace, segment = rng.integers(4, size=6), rng.integers(4, size=6)
    expected = 0.0
    for logits, labels in ((pace_logits, pace), (segment_logits, segment)):
        for row, label in zip(logits, labels, strict=True):
            expected -= math.log(math.exp(row[label]) / sum(math.exp(v) for v in row)) / len(labels)
    loss = segment_pace(*(torch.from_numpy(a) for a in (pace_logits, segment_logits, pace, segment)))
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_the_two_labels_are_not_interchangeable():
    logits, other = torch.eye(4) * 3, torch.eye(4).flip(0) * 3
    labels, reverse = torch.arange(4), torch.arange(4).flip(0)
    right = segment_pace(logits, other, labels, reverse)
    assert segment_pace(logits, other, reverse, labels) > right + 1
