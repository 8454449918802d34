"""`cosine_regression`: values and gradients against NumPy, bounds, scale."""

import numpy as np
import pytest
import torch

from vssl.losses import constant_regression, cosine_regression


def rows(seed, n=6, d=5):
    return np.random.default_rng(seed).normal(size=(n, d))


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_value_and_gradient():
    p, t = rows(0), rows(1)
    prediction = torch.tensor(p, requires_grad=True)
    loss = cosine_regression(prediction, torch.tensor(t))
    loss.backward()
    assert loss.item() == pytest.approx(np.mean(np.sum((unit(p) - unit(t)) ** 2, -1)), rel=1e-12)
    cos = np.sum(unit(p) * unit(t), -1, keepdims=True)
    gradient = -2 / len(p) * (unit(t) - unit(p) * cos) / np.linalg.norm(p, axis=-1, keepdims=True)
    np.testing.assert_allclose(prediction.grad.numpy(), gradient, rtol=1e-9)
    assert np.abs(gradient).max() > 1e-3


def test_bounds_and_scale():
    t = torch.tensor(rows(0))
    assert cosine_regression(3.7 * t, t).item() == pytest.approx(0, abs=1e-12)
    assert cosine_regression(-0.1 * t, t).item() == pytest.approx(4)
    p = torch.tensor(rows(1))
    assert cosine_regression(10 * p, t).item() == pytest.approx(cosine_regression(p, t).item(), abs=1e-6)
    assert 0 < cosine_regression(p, t).item() < 4


def test_no_constant_is_better_than_the_mean_target():
    t = rows(2) + 0.7
    best = constant_regression(torch.tensor(t)).item()
    mean = np.broadcast_to(unit(t).mean(0), t.shape).copy()
    assert cosine_regression(torch.tensor(mean), torch.tensor(t)).item() == pytest.approx(best, rel=1e-12)
    rng = np.random.default_rng(3)
    for _ in range(200):
        guess = np.broadcast_to(mean[0] + 0.3 * rng.normal(size=5), t.shape).copy()
        assert cosine_regression(torch.tensor(guess), torch.tensor(t)).item() >= best
