"""VITO's numerical acceptance checks 1-4 and 6 (papers' file, section 9), and an independent NumPy loop."""

import math

import numpy as np
import pytest
import torch

from vssl.losses import info_nce
from vssl.methods.vito import pairwise_loss, siblings

Z1 = [[1.0, 0.0], [0.0, 1.0]]
Z2 = [[1.0, 0.8], [-0.9, 1.0]]
Z3 = [[0.9, 0.1], [0.2, 0.9]]
T1 = [[1.0, 0.2], [0.1, 1.0]]
T2 = [[1.0, 1.0], [-1.0, 1.0]]
T3 = [[1.0, -0.1], [0.3, 1.0]]


def f64(rows):
    return torch.tensor(rows, dtype=torch.float64)


def pair(query, key, temperature=0.1):
    return info_nce(f64(query), f64(key), torch.arange(2), temperature).item()


def total(online, target, negatives):
    z = torch.stack([f64(v) for v in online], dim=1)
    t = torch.stack([f64(v) for v in target], dim=1)
    return pairwise_loss(z, t, 0, negatives=negatives, temperature=0.1).item()


def numpy_total(online, target, negatives, temperature=0.1):
    """The definition, as loops: sum over ordered pairs of the mean over videos."""
    unit = lambda rows: np.array(rows) / np.linalg.norm(np.array(rows), axis=-1, keepdims=True)
    z, t = [unit(v) for v in online], [unit(v) for v in target]
    result = 0.0
    for i in range(len(z)):
        for j in range(len(t)):
            if i == j:
                continue
            for b in range(len(z[0])):
                positive = math.exp(z[i][b] @ t[j][b] / temperature)
                others = [n for n in range(len(z[0])) if n != b]
                seen = [j] if negatives == "cross_view" else range(len(t))
                negative = sum(math.exp(z[i][b] @ t[v][n] / temperature) for n in others for v in seen)
                result += -math.log(positive / (positive + negative)) / len(z[0])
    return result


@pytest.mark.parametrize("batch", [4, 4096])
def test_collapse_costs_the_log_of_the_number_of_candidates(batch):
    same = torch.ones(batch, 2, 3, dtype=torch.float64)
    for negatives, candidates in (("cross_view", batch), ("all_views", 2 * batch - 1)):
        loss = pairwise_loss(same, same, 0, negatives=negatives, temperature=0.1) / 2
        assert loss.item() == pytest.approx(math.log(candidates), abs=1e-9)


def test_three_views_sum_six_terms():
    same = torch.ones(4, 3, 3, dtype=torch.float64)
    loss = pairwise_loss(same, same, 0, negatives="cross_view", temperature=0.1)
    assert loss.item() == pytest.approx(6 * math.log(4), abs=1e-9)


def test_closed_form_cross_view():
    assert pair(Z1, T2) == pytest.approx(0.346574, abs=1e-6)
    assert pair(Z2, T1) == pytest.approx(0.070401, abs=1e-6)
    assert total([Z1, Z2], [T1, T2], "cross_view") == pytest.approx(0.416975, abs=1e-6)
    assert pair(Z1, Z1) == pytest.approx(4.5399e-5, abs=1e-8)


def test_closed_form_all_views():
    z, t = torch.stack([f64(Z1), f64(Z2)], 1), torch.stack([f64(T1), f64(T2)], 1)
    own = torch.arange(2)
    keys = t.flatten(0, 1)
    first = info_nce(z[:, 0], keys, own * 2 + 1, 0.1, siblings(own, 2, 2, 1)).item()
    second = info_nce(z[:, 1], keys, own * 2, 0.1, siblings(own, 2, 2, 0)).item()
    assert first == pytest.approx(0.349228, abs=1e-6)
    assert second == pytest.approx(0.071429, abs=1e-6)


def test_wrong_temperatures_give_other_numbers():
    assert pair(Z1, T2, temperature=1.0) == pytest.approx(0.455384, abs=1e-6)
    assert pair(Z1, T2, temperature=math.sqrt(0.1)) == pytest.approx(0.352253, abs=1e-6)


def test_scale_invariance_and_tangency():
    z = f64(Z1).requires_grad_()
    loss = info_nce(z, f64(T2), torch.arange(2), 0.1)
    loss.backward()
    assert info_nce(7 * z, 7 * f64(T2), torch.arange(2), 0.1).item() == pytest.approx(loss.item(), abs=1e-12)
    assert (z.grad * z).sum(-1).abs().max().item() < 1e-6
    expected = f64([[0.0, 2.2e-8], [3.535534, 0.0]])
    torch.testing.assert_close(z.grad, expected, rtol=0, atol=1e-6)


def test_three_views_closed_form():
    online, target = {1: Z1, 2: Z2, 3: Z3}, {1: T1, 2: T2, 3: T3}
    expected = {
        (1, 2): 0.346574,
        (1, 3): 0.000435,
        (2, 1): 0.070401,
        (2, 3): 0.685799,
        (3, 1): 0.001575,
        (3, 2): 1.556666,
    }
    for (i, j), value in expected.items():
        assert pair(online[i], target[j]) == pytest.approx(value, abs=1e-6), (i, j)
    whole = total([Z1, Z2, Z3], [T1, T2, T3], "cross_view")
    assert whole == pytest.approx(2.661449, abs=1e-6)
    assert whole != pytest.approx(0.443575, abs=1e-3)  # the mean over pairs: the wrong reduction
    assert total([Z3, Z1, Z2], [T3, T1, T2], "cross_view") == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize("negatives", ["cross_view", "all_views"])
def test_equals_a_numpy_loop(negatives):
    rng = np.random.default_rng(0)
    online, target = rng.normal(size=(3, 5, 4)), rng.normal(size=(3, 5, 4))
    expected = numpy_total(list(online), list(target), negatives)
    assert total(online.tolist(), target.tolist(), negatives) == pytest.approx(expected, rel=1e-12)


def test_no_false_negatives():
    own = torch.arange(4)
    excluded = siblings(own, num_videos=4, num_views=2, j=1)
    assert (~excluded).sum(-1).tolist() == [7] * 4  # 1 + (B - 1) V
    torch.manual_seed(0)
    z, t = torch.randn(4, 2, 8, dtype=torch.float64), torch.randn(4, 2, 8, dtype=torch.float64)
    other = t.clone()
    other[0, 0] = -37.0  # another view of the query's own video
    query = lambda keys: info_nce(z[:1, 0], keys.flatten(0, 1), torch.tensor([1]), 0.1, excluded[:1])
    assert query(t).item() == query(other).item()


def test_ranks_share_their_keys_by_offset():
    torch.manual_seed(0)
    z, t = torch.randn(4, 2, 8, dtype=torch.float64), torch.randn(4, 2, 8, dtype=torch.float64)
    settings = {"negatives": "all_views", "temperature": 0.1}
    whole = pairwise_loss(z, t, 0, **settings)
    halves = [pairwise_loss(z[r : r + 2], t, r, **settings) for r in (0, 2)]
    assert (sum(halves) / 2).item() == pytest.approx(whole.item(), rel=1e-12)
    assert abs((pairwise_loss(z[2:], t, 0, **settings) - halves[1]).item()) > 1e-3  # a wrong offset shows


def test_siblings_would_count_without_the_mask():
    query, keys = f64([[1.0, 0.0]]), f64([[1.0, 0.1], [0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])
    free = info_nce(query, keys, torch.tensor([2]), 0.1)
    masked = info_nce(query, keys, torch.tensor([2]), 0.1, torch.tensor([[True, False, False, False]]))
    assert free.item() > masked.item() + 0.1
