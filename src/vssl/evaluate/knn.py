"""Weighted nearest neighbours on features. Q queries, G gallery videos, D feature width, C classes."""

import numpy as np
from jaxtyping import Float, Int

DECIMALS = 9
"""Similarities are rounded here, so that equal features are equal neighbours however the matrix product was cut."""


def unit(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Rows of length 1 in float64; a row of zeros stays zero."""
    wide = features.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(length > 0, length, 1.0)


def predict(
    queries: Float[np.ndarray, "q d"],
    gallery: Float[np.ndarray, "g d"],
    labels: Int[np.ndarray, " g"],
    *,
    k: int = 20,
    temperature: float = 0.07,
    chunk: int = 256,
) -> Int[np.ndarray, " q"]:
    """Class of each query: the min(k, G) nearest gallery videos by cosine vote exp(cosine / temperature).

    Ties go to the lowest id: of neighbours at the same distance, and of classes with the same votes.
    """
    k = min(k, len(gallery))
    num_classes = int(labels.max()) + 1
    unit_queries, unit_gallery = unit(queries), unit(gallery)
    predicted = np.empty(len(queries), dtype=np.int64)
    for start in range(0, len(queries), chunk):
        similarity = np.round(unit_queries[start : start + chunk] @ unit_gallery.T, DECIMALS)
        near = nearest(similarity, k)
        near_similarity = np.take_along_axis(similarity, near, axis=1)
        # relative to the nearest: no overflow at small temperatures, and rounding means the same for every query
        votes = np.exp((near_similarity - near_similarity.max(axis=1, keepdims=True)) / temperature)
        ballot = np.zeros((len(near), num_classes))
        np.add.at(ballot, (np.arange(len(near))[:, None], labels[near]), votes)
        predicted[start : start + chunk] = np.round(ballot, DECIMALS).argmax(axis=1)
    return predicted


def nearest(similarity: Float[np.ndarray, "q g"], k: int) -> Int[np.ndarray, "q k"]:
    """Columns of the k largest entries of each row, ascending; of equal entries the lowest columns are taken."""
    threshold = np.partition(similarity, -k, axis=1)[:, -k, None]
    above, equal = similarity > threshold, similarity == threshold
    places = k - above.sum(axis=1, keepdims=True)
    chosen = above | (equal & (equal.cumsum(axis=1) <= places))
    return np.nonzero(chosen)[1].reshape(len(similarity), k)
