"""VIVI's numerical acceptance checks 1-7 and 9 (papers' file, section 9), NumPy oracles, negative controls."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from vssl.losses import (
    batch_hard_soft_triplet,
    rotate_four,
    rotation,
    rotation_labels,
    semihard_triplet,
    shot_prediction,
)
from vssl.losses.triplet import squared_distances

G = [[2.0, 0.0, -1.0], [0.5, 1.5, 0.0], [-0.5, 0.25, 1.0]]
E1 = [[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]
E2 = [[1.0, 1.0], [0.0, 1.0], [2.0, 0.0]]
ANGLES = np.deg2rad([0, 25, 70, 100])
Z = torch.from_numpy(np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1))
LABELS = torch.tensor([0, 0, 1, 1])


def f64(rows):
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize(("n", "value"), [(2, 0.693147), (8, 2.079442), (64, 4.158883), (128, 4.852030)])
def test_collapsed_shots_cost_the_log_of_the_batch(n, value):
    assert shot_prediction(torch.full((n, n), 3.7)).item() == pytest.approx(value, abs=1e-6)


def test_collapsed_embeddings_and_uniform_rotations():
    same, labels = torch.ones(12, 5, dtype=torch.float64), torch.arange(4).repeat_interleave(3)
    assert semihard_triplet(same, labels, 0.5).item() == pytest.approx(0.5, abs=1e-12)
    assert batch_hard_soft_triplet(same, labels).item() == pytest.approx(0.693147, abs=1e-6)
    assert rotation(torch.zeros(8, 4)).item() == pytest.approx(1.386294, abs=1e-6)


def test_shot_prediction_from_a_score_matrix():
    scores = f64(G)
    assert shot_prediction(scores).item() == pytest.approx(0.387397, abs=1e-6)
    assert shot_prediction(scores.T).item() == pytest.approx(0.361947, abs=1e-6)  # the wrong axis shows
    assert shot_prediction(scores).item() - math.log(3) == pytest.approx(-0.711215, abs=1e-6)


def test_scores_are_neither_normalised_nor_tempered():
    one, two = f64(E1), f64(E2)
    assert (one @ two.T).tolist() == [[1, 0, 2], [2, 2, 0], [2, 1, 2]]
    assert shot_prediction(one @ two.T).item() == pytest.approx(1.009408, abs=1e-6)
    assert shot_prediction(2 * one @ (2 * two).T).item() == pytest.approx(1.804686, abs=1e-6)
    cosine = F.normalize(one, dim=-1) @ F.normalize(two, dim=-1).T
    assert shot_prediction(cosine).item() == pytest.approx(0.998700, abs=1e-6)  # what it must not be


def test_the_gradient_reaches_both_sides():
    one, two = f64(E1).requires_grad_(), f64(E2).requires_grad_()
    shot_prediction(one @ two.T).backward()
    assert one.grad.norm().item() == pytest.approx(0.471711, abs=1e-6)
    assert two.grad.norm().item() == pytest.approx(0.582455, abs=1e-6)
    np.testing.assert_allclose(two.grad[0].numpy(), [-0.1110, 0.4530], atol=1e-4)


def test_shot_prediction_equals_a_numpy_loop_with_positives_anywhere():
    rng = np.random.default_rng(0)
    scores, positive = rng.normal(size=(4, 7)), [3, 0, 6, 2]
    expected = np.mean([math.log(np.exp(row).sum()) - row[p] for row, p in zip(scores, positive, strict=True)])
    loss = shot_prediction(torch.from_numpy(scores), torch.tensor(positive))
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    assert abs(shot_prediction(torch.from_numpy(scores)).item() - expected) > 1e-2


def test_squared_distances_of_the_four_unit_vectors():
    d = squared_distances(Z)
    expected = {
        (0, 1): 0.187384,
        (0, 2): 1.315960,
        (0, 3): 2.347296,
        (1, 2): 0.585786,
        (1, 3): 1.482362,
        (2, 3): 0.267949,
    }
    for (a, b), value in expected.items():
        assert d[a, b].item() == d[b, a].item() == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(("margin", "value"), [(0.2, 0.0), (0.5, 0.070940), (1.0, 0.320940)])
def test_semihard_closed_form(margin, value):
    assert semihard_triplet(Z, LABELS, margin).item() == pytest.approx(value, abs=1e-6)
    scaled = Z * f64([[1.0], [2.0], [3.0], [0.5]])
    assert semihard_triplet(scaled, LABELS, margin).item() == pytest.approx(value, abs=1e-6)


def numpy_semihard(z, labels, margin, *, squared=True, axis=-1, exclude=None):
    z = z / np.linalg.norm(z, axis=axis, keepdims=True)
    n, terms = len(z), []
    d = ((z[:, None] - z) ** 2).sum(-1)
    d = d if squared else np.sqrt(d)
    for a in range(n):
        negatives = [d[a, i] for i in range(n) if labels[i] != labels[a] and (exclude is None or not exclude[a, i])]
        for p in range(n):
            if p != a and labels[p] == labels[a] and negatives:
                further = [x for x in negatives if x > d[a, p]]
                terms.append(max(0.0, margin + d[a, p] - (min(further) if further else max(negatives))))
    return float(np.mean(terms)) if terms else 0.0


def test_wrong_triplets_give_other_numbers():
    z, labels = Z.numpy(), LABELS.tolist()
    assert numpy_semihard(z, labels, 0.5, squared=False) == pytest.approx(0.104946, abs=1e-6)
    assert numpy_semihard(z, labels, 0.5, axis=0) == pytest.approx(0.160432, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("margin", [0.1, 0.5, 1.5])
def test_semihard_equals_a_numpy_loop(seed, margin):
    rng = np.random.default_rng(seed)
    z, labels = rng.normal(size=(14, 3)), rng.integers(4, size=14)
    exclude = np.triu(rng.random((14, 14)) < 0.4)
    exclude = exclude | exclude.T
    given = torch.from_numpy(z), torch.from_numpy(labels), margin
    assert semihard_triplet(*given).item() == pytest.approx(numpy_semihard(z, labels, margin), abs=1e-9)
    expected = numpy_semihard(z, labels, margin, exclude=exclude)
    assert semihard_triplet(*given, torch.from_numpy(exclude)).item() == pytest.approx(expected, abs=1e-9)


def test_batch_hard_soft_closed_form_and_numpy():
    assert batch_hard_soft_triplet(Z, LABELS).item() == pytest.approx(0.479822, abs=1e-6)
    d = np.sqrt(((Z.numpy()[:, None] - Z.numpy()) ** 2).sum(-1))
    same = LABELS.numpy()[:, None] == LABELS.numpy()
    anchors = [math.log1p(math.exp(d[a][same[a]].max() - d[a][~same[a]].min())) for a in range(4)]
    np.testing.assert_allclose(anchors, [0.398472, 0.540659, 0.576934, 0.403224], atol=1e-6)
    excluded = torch.zeros(4, 4, dtype=torch.bool)
    excluded[1, 2] = True  # anchor 1 loses its nearest negative
    assert batch_hard_soft_triplet(Z, LABELS, excluded).item() < 0.479822 - 1e-2


def test_an_anchor_without_a_negative_is_left_out():
    labels = torch.zeros(4, dtype=torch.long)
    for loss in (semihard_triplet(Z, labels, 0.5), batch_hard_soft_triplet(Z, labels)):
        assert loss.item() == 0.0
    z = Z.clone().requires_grad_()
    batch_hard_soft_triplet(z, labels).backward()
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("loss", [lambda z, y: semihard_triplet(z, y, 0.5), batch_hard_soft_triplet])
def test_triplet_gradients(loss):
    torch.manual_seed(0)
    z, labels = torch.randn(9, 4, dtype=torch.float64, requires_grad=True), torch.arange(3).repeat_interleave(3)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), (z,))
    collapsed = torch.ones(6, 4, requires_grad=True)
    loss(collapsed, torch.arange(2).repeat_interleave(3)).backward()
    assert torch.isfinite(collapsed.grad).all()


def test_the_identity_of_a_frame_is_its_shot():
    labels = torch.arange(4).repeat_interleave(3)  # N=2, K=2, L=3
    assert labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    pairs = (labels[:, None] == labels).sum() - 12
    assert int(pairs) == 24


def rot90(x, label):
    """The map of the spec on (H, W, C), written again from the text."""
    if label == 1:
        return x[:, ::-1].transpose(1, 0, 2)
    if label == 2:
        return x[::-1, ::-1]
    if label == 3:
        return x.transpose(1, 0, 2)[:, ::-1]
    return x


def test_rotation_copies_and_labels():
    images = torch.randint(256, (3, 1, 3, 6, 6), dtype=torch.uint8)
    copies, labels = rotate_four(images), rotation_labels(3)
    assert copies.shape == (12, 1, 3, 6, 6)
    assert labels.tolist() == [0, 1, 2, 3] * 3
    for place, (copy, label) in enumerate(zip(copies, labels.tolist(), strict=True)):
        source = images[place // 4, 0].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(copy[0].permute(1, 2, 0).numpy(), rot90(source, label))
    x = images
    for _ in range(4):
        x = rotate_four(x)[1::4]
    assert torch.equal(x, images)
    assert not torch.equal(rotate_four(images)[1::4], images)


def test_an_oracle_that_inverts_the_rotation_is_always_right():
    images = torch.rand(5, 3, 8, 8)
    guesses = []
    for place, copy in enumerate(rotate_four(images)):
        source = images[place // 4]
        undone = [torch.rot90(copy, -k, dims=(-2, -1)) for k in range(4)]
        guesses.append(next(k for k in range(4) if torch.equal(undone[k], source)))
    assert guesses == rotation_labels(5).tolist()
    logits = F.one_hot(torch.tensor(guesses), 4).float() * 50
    assert rotation(logits).item() < 1e-6
    assert rotation(logits.roll(1, 0)).item() > 10
