import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from vssl.evaluate.knn import nearest, predict, unit


def loop(queries, gallery, labels, k, temperature):
    """The definition, one query at a time, sorting by (-similarity, id)."""
    found = []
    for query in queries.astype(float):
        similarity = [
            round(float(query @ g / (np.linalg.norm(query) * np.linalg.norm(g))), 9) for g in gallery.astype(float)
        ]
        near = sorted(range(len(gallery)), key=lambda i: (-similarity[i], i))[: min(k, len(gallery))]
        votes = {}
        for i in near:
            votes[labels[i]] = votes.get(labels[i], 0.0) + np.exp(similarity[i] / temperature)
        best = max(votes.values())
        found.append(min(c for c, v in votes.items() if v > best * (1 - 1e-9)))
    return np.array(found)


@pytest.mark.parametrize(("k", "chunk"), [(20, 256), (5, 7), (1, 1), (500, 64)])
def test_equals_an_independent_loop(k, chunk):
    rng = np.random.default_rng(3)
    gallery, queries = rng.normal(size=(90, 16)).astype(np.float32), rng.normal(size=(40, 16)).astype(np.float32)
    labels = rng.integers(7, size=90)
    found = predict(queries, gallery, labels, k=k, temperature=0.07, chunk=chunk)
    np.testing.assert_array_equal(found, loop(queries, gallery, labels, k, 0.07))


def test_equals_scikit_learn():
    rng = np.random.default_rng(5)
    gallery, queries = rng.normal(size=(300, 8)).astype(np.float32), rng.normal(size=(120, 8)).astype(np.float32)
    labels = rng.integers(5, size=300)
    votes = KNeighborsClassifier(20, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07))
    expected = votes.fit(unit(gallery), labels).predict(unit(queries))
    np.testing.assert_array_equal(predict(queries, gallery, labels), expected)
    # negative control: another temperature is another classifier
    assert (predict(queries, gallery, labels, temperature=10.0) != expected).any()


def test_ties_go_to_the_lowest_neighbour_and_the_lowest_class():
    same = np.ones((6, 3), dtype=np.float32)
    labels = np.array([4, 4, 1, 1, 2, 2])
    # all six are equally near: the first four rows are taken, two votes each for 4 and 1
    assert predict(same[:1], same, labels, k=4).tolist() == [1]
    assert predict(same[:1], same, labels, k=3).tolist() == [4]
    assert nearest(np.array([[0.5, 0.9, 0.5, 0.5]]), 3).tolist() == [[0, 1, 2]]


def test_scale_of_features_and_order_of_queries_do_not_matter():
    rng = np.random.default_rng(0)
    gallery, queries = rng.normal(size=(50, 4)).astype(np.float32), rng.normal(size=(30, 4)).astype(np.float32)
    labels = rng.integers(3, size=50)
    found = predict(queries, gallery, labels)
    np.testing.assert_array_equal(predict(queries * 1000, gallery * 0.01, labels), found)
    np.testing.assert_array_equal(predict(queries[::-1].copy(), gallery, labels), found[::-1])


def test_a_feature_of_zeros_is_equally_far_from_all():
    gallery = np.eye(3, dtype=np.float32)
    assert predict(np.zeros((1, 3), np.float32), gallery, np.array([2, 1, 0]), k=1).tolist() == [2]
