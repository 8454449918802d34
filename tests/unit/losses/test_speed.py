"""RSPNet's two tasks against NumPy loops."""

import math

import numpy as np
import pytest
import torch

from vssl.losses import appearance, info_nce, relative_speed

T = 0.07


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(3)
    query = rng.normal(size=(5, 6))
    same, other = query + 0.8 * rng.normal(size=(5, 6)), query + 0.9 * rng.normal(size=(5, 6))
    return query, same, other, unit(rng.normal(size=(9, 6)))


def tensors(*arrays):
    return [torch.from_numpy(a) for a in arrays]


def test_relative_speed_equals_a_loop(arrays):
    query, same, other = (unit(a) for a in arrays[:3])
    gaps = [(q @ k - q @ o) / T for q, k, o in zip(query, same, other, strict=True)]
    expected = sum(max(0.0, 2.0 - gap) for gap in gaps) / 5
    assert any(gap > 2 for gap in gaps)  # some samples are beyond the margin
    assert any(gap < 2 for gap in gaps)
    q, k, o, _ = tensors(*arrays)
    assert relative_speed(q, k, o).item() == pytest.approx(expected, rel=1e-12)
    assert relative_speed(3 * q, k, o / 2).item() == pytest.approx(expected, rel=1e-12)
    assert relative_speed(q, o, k).item() != pytest.approx(expected, rel=1e-2)
    assert relative_speed(q, k, o, margin=1.0).item() != pytest.approx(expected, rel=1e-2)
    assert relative_speed(q, k, k).item() == pytest.approx(2.0)


def test_appearance_equals_a_loop(arrays):
    query, same, other = (unit(a) for a in arrays[:3])
    bank, expected = arrays[3], 0.0
    for q, k, o in zip(query, same, other, strict=True):
        for key in (k, o):
            scores = [math.exp(q @ key / T)] + [math.exp(q @ row / T) for row in bank]
            expected -= math.log(scores[0] / sum(scores)) / 5
    q, k, o, b = tensors(*arrays)
    assert appearance(q, k, o, b).item() == pytest.approx(expected, rel=1e-12)
    assert appearance(q, o, k, b).item() == pytest.approx(expected, rel=1e-12)  # both speeds count alike
    assert appearance(q, k, k, b).item() != pytest.approx(expected, rel=1e-2)
    assert appearance(q, k, o, b[:5]).item() < expected


def test_appearance_is_info_nce_whose_only_negatives_are_the_bank(arrays):
    q, k, o, b = tensors(*arrays)
    own = torch.arange(5)
    others = torch.cat([~torch.eye(5, dtype=torch.bool), torch.zeros(5, 9, dtype=torch.bool)], dim=1)
    expected = sum(info_nce(q, torch.cat([x, b]), own, T, others) for x in (k, o))
    torch.testing.assert_close(appearance(q, k, o, b), expected)
    in_batch = sum(info_nce(q, torch.cat([x, b]), own, T) for x in (k, o))
    assert not torch.allclose(appearance(q, k, o, b), in_batch)
