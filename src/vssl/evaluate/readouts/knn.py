"""Weighted nearest neighbours: nothing is trained."""

from vssl.evaluate import knn as neighbours
from vssl.evaluate.protocol import Protocol
from vssl.evaluate.readouts.base import Answer, Part, percent


def knn(settings: Protocol, train: Part, test: Part, *, classes: list[str], device: str) -> Answer:
    """Top-1 of a vote among the nearest train videos."""
    del device  # nothing is trained
    predicted = neighbours.predict(
        test.features,
        train.features,
        train.labels,
        k=settings["neighbours.k"],
        temperature=settings["neighbours.temperature"],
    )
    return Answer({"top1": percent(predicted, test.labels)}, test.rows, predicted, test.labels, classes)
