import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from vssl.evaluate.features import reorder
from vssl.evaluate.protocol import load
from vssl.evaluate.readouts import READOUTS, Part
from vssl.evaluate.readouts.fewshot import draw

NAMES = ["a", "b", "c"]


def part(num, *, seed, start=0, variants=("normal",), width=6):
    """Class centres; in every variant but `frozen` and `shuffled` the class shows, and `x2` adds a constant."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=num)
    centre = 3 * np.eye(3, width)
    features = {}
    for name in variants:
        signal = 0 if name in ("frozen", "shuffled") else 1
        features[name] = (signal * centre[labels] + rng.normal(size=(num, width))).astype(np.float32)
        if name == "x2":
            features[name][:, -1] += 4
    return Part(np.arange(start, start + num), labels, np.arange(num) // 2 + 1, features)


def score(name, train, test):
    return READOUTS[load(name)["task"]](load(name), train, test, classes=NAMES, device="cpu")


def test_retrieval_is_scikit_learns():
    train, test = part(80, seed=0), part(60, seed=1, start=80)
    found = score("retrieval-v1", train, test)
    near = NearestNeighbors(n_neighbors=50, metric="cosine", algorithm="brute").fit(train.features.astype(np.float64))
    place = near.kneighbors(test.features.astype(np.float64), return_distance=False)
    for k in (1, 5, 10, 20, 50):
        hit = (train.labels[place[:, :k]] == test.labels[:, None]).any(1)
        assert found.metrics[f"R@{k}"] == pytest.approx(100 * hit.mean())
    assert found.predicted.tolist() == train.labels[place[:, 0]].tolist()
    moved = Part(test.rows, test.labels, test.groups, {"normal": test.features + 50})
    shifted = score("retrieval-v1", train, moved)
    assert shifted.metrics["R@1 centred"] == pytest.approx(found.metrics["R@1 centred"])
    assert shifted.metrics["R@1"] < found.metrics["R@1"]  # uncentred, a shift of the test list matters


def test_more_neighbours_than_gallery_are_the_gallery():
    assert score("retrieval-v1", part(9, seed=0), part(5, seed=1)).metrics["R@50"] == 100.0


def test_few_shots_are_drawn_per_class_and_nested():
    labels = np.array([0] * 30 + [1] * 3 + [2] * 30)
    five, ten = draw(labels, 5, seed=0), draw(labels, 10, seed=0)
    assert np.bincount(labels[five]).tolist() == [5, 3, 5]
    assert set(five) < set(ten)
    assert draw(labels, 5, seed=1).tolist() != five.tolist()
    assert draw(labels, 5, seed=0).tolist() == five.tolist()


def test_few_shot_scores_are_means_over_five_draws_and_rise_with_shots():
    found = score("fewshot-v1", part(200, seed=0), part(100, seed=1))
    assert list(found.metrics) == ["5-shot", "10-shot", "20-shot"]
    assert {len(values) for values in found.details["draws"].values()} == {5}
    assert found.metrics["5-shot"] == pytest.approx(100 * (found.predicted == found.true).mean())
    assert 50 < found.metrics["5-shot"] < found.metrics["20-shot"]


def test_the_temporal_readout_tells_what_hangs_on_motion():
    variants = load("temporal-v1")["views.variants"]
    found = score("temporal-v1", part(300, seed=0, variants=variants), part(150, seed=1, variants=variants))
    assert list(found.metrics) == ["speed", "top1", "frozen", "shuffled", "reversed"]
    assert found.metrics["speed"] > 90
    assert min(found.metrics["top1"], found.metrics["reversed"]) > 85
    assert max(found.metrics["frozen"], found.metrics["shuffled"]) < 50
    assert found.metrics["speed"] == pytest.approx(100 * (found.predicted == found.true).mean())


def test_variants_are_orders_of_the_same_frames():
    pixels = torch.arange(2 * 3 * 8, dtype=torch.uint8).view(2, 3, 8, 1, 1, 1).expand(2, 3, 8, 3, 2, 2)
    rows = torch.tensor([4, 5])
    assert torch.equal(reorder(pixels, "normal", rows), pixels)
    assert torch.equal(reorder(pixels, "reversed", rows)[:, :, 0], pixels[:, :, 7])
    frozen = reorder(pixels, "frozen", rows)
    assert all(torch.equal(frozen[:, :, t], pixels[:, :, 4]) for t in range(8))
    shuffled = reorder(pixels, "shuffled", rows)
    assert torch.equal(shuffled.sort(dim=2).values, pixels)
    assert not any(torch.equal(a, b) for a, b in zip(shuffled, pixels, strict=True))
    assert torch.equal(reorder(pixels[1:], "shuffled", rows[1:]), shuffled[1:])  # hangs on the row alone
    assert torch.equal(reorder(pixels[:, :, :1], "shuffled", rows), pixels[:, :, :1])
