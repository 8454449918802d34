"""Readouts: one file each; a protocol's `task` picks one."""

from vssl.evaluate.readouts.base import Answer, Part, Readout
from vssl.evaluate.readouts.fewshot import fewshot
from vssl.evaluate.readouts.knn import knn
from vssl.evaluate.readouts.linear import linear
from vssl.evaluate.readouts.retrieval import retrieval
from vssl.evaluate.readouts.temporal import temporal

__all__ = ["READOUTS", "Answer", "Part", "Readout"]

READOUTS: dict[str, Readout] = {
    "knn": knn,
    "retrieval": retrieval,
    "linear": linear,
    "fewshot": fewshot,
    "temporal": temporal,
}
"""Task -> readout of cached features. A task that trains on clips is no readout: it needs the encoder itself."""
