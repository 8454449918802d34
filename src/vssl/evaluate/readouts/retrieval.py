"""Nearest-neighbour retrieval: test videos ask, train videos answer. Q queries, G gallery videos."""

import numpy as np
from jaxtyping import Float, Int

from vssl.evaluate.knn import DECIMALS, nearest, unit
from vssl.evaluate.protocol import Protocol
from vssl.evaluate.readouts.base import Answer, Part, percent

_CHUNK = 256


def retrieval(settings: Protocol, train: Part, test: Part, *, classes: list[str], device: str) -> Answer:
    """R@k: share of test videos with a video of their class among the k nearest train videos."""
    del device  # nothing is trained
    ks = settings["neighbours.ks"]
    # two habits of the literature: features as they are, or (CoCLR) each list's own mean taken off first
    raw, without = (test.features, train.features), (_centred(test.features), _centred(train.features))
    chosen = raw if settings["neighbours.centring"] == "none" else without
    first, hits = ranks(*chosen, train.labels, test.labels, ks=ks)
    metrics = {f"R@{k}": 100 * float(hits[:, i].mean()) for i, k in enumerate(ks)}
    centred, _ = ranks(*without, train.labels, test.labels, ks=[1])
    metrics["R@1 centred"] = percent(train.labels[centred], test.labels)
    return Answer(metrics, test.rows, train.labels[first], test.labels, classes)


def ranks(
    queries: Float[np.ndarray, "q d"],
    gallery: Float[np.ndarray, "g d"],
    labels: Int[np.ndarray, " g"],
    wanted: Int[np.ndarray, " q"],
    *,
    ks: list[int],
) -> tuple[Int[np.ndarray, " q"], np.ndarray]:
    """By cosine: the nearest gallery video of each query, and (Q, len(ks)) whether the min(k, G) nearest hold `wanted`.

    Of gallery videos at the same distance the lowest ids are nearer.
    """
    unit_queries, unit_gallery = unit(queries), unit(gallery)
    first = np.empty(len(queries), dtype=np.int64)
    hits = np.empty((len(queries), len(ks)), dtype=bool)
    for start in range(0, len(queries), _CHUNK):
        part = slice(start, start + _CHUNK)
        similarity = np.round(unit_queries[part] @ unit_gallery.T, DECIMALS)
        first[part] = nearest(similarity, 1)[:, 0]
        for i, k in enumerate(ks):
            found = labels[nearest(similarity, min(k, len(gallery)))]
            hits[part, i] = (found == wanted[part, None]).any(axis=1)
    return first, hits


def _centred(features: np.ndarray) -> np.ndarray:
    return features - features.mean(axis=0, dtype=np.float64)
