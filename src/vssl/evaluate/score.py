"""From a readout's answer to a result: which videos count, and everything a comparison needs to know."""

from typing import Any, Literal, NamedTuple

import numpy as np

from vssl.data.manifest import Manifest
from vssl.errors import UserError
from vssl.evaluate import leak, stats
from vssl.evaluate.encoder import Encoder, environment
from vssl.evaluate.features import Lost
from vssl.evaluate.protocol import METRICS, Protocol
from vssl.evaluate.readouts import Answer
from vssl.evaluate.result import TRAINED, Result, hits


class Task(NamedTuple):
    """One score that is asked for."""

    encoder: Encoder
    protocol: Protocol
    split: int
    label: str
    key: str


class Lists(NamedTuple):
    """Rows of one split that have a label."""

    gallery: np.ndarray
    """Train videos whose features exist."""
    test: np.ndarray
    gallery_listed: np.ndarray
    """With those that could not be read."""
    test_listed: np.ndarray


def lists(task: Task, manifest: Manifest, *, ids: np.ndarray, readable: np.ndarray) -> Lists:
    """The train and test lists of a split.

    Args:
        task: Says split and label.
        manifest: Of the videos.
        ids: Class per row, -1: none.
        readable: Rows that could be read.

    Raises:
        UserError: there is no such split, or one of its lists is empty.
    """
    listed = [manifest.listed(task.split, part) for part in ("train", "test")]
    listed = [rows[ids[rows] >= 0] for rows in listed]
    gallery, test = (np.intersect1d(rows, readable) for rows in listed)
    if not len(gallery) or not len(test):
        what = f"has {len(gallery)} train and {len(test)} test videos with a {task.label}"
        raise UserError(f"split {task.split}", what, "Choose another --splits or --label")
    return Lists(gallery, test, listed[0], listed[1])


def record(
    task: Task,
    answer: Answer,
    found: Lists,
    *,
    manifest: Manifest,
    lost: list[Lost],
    reader: Literal["auto", "pyav", "torchcodec"],
    device: str,
) -> Result:
    """The result of a task."""
    encoder = task.encoder
    columns = {"row": answer.rows, "predicted": answer.predicted, "true": answer.true}
    columns["group"] = owners(manifest)[answer.rows]
    assert next(iter(answer.metrics)) == METRICS[task.protocol["task"]][0]
    spread = stats.interval([hits(columns)])
    seen = overlap(encoder, manifest, split=task.split)
    return Result(
        key=task.key,
        dataset=manifest.dataset,
        manifest=manifest.content_hash,
        split=task.split,
        label=task.label,
        protocol=task.protocol.record(encoder.card._asdict()),
        metrics=answer.metrics,
        interval=[spread.low, spread.high],
        **_health(found, lost),
        num_official=manifest.info.get("counts", {}).get(f"split{task.split} test", {}).get("official"),
        predictions={name: column.tolist() for name, column in columns.items()},
        classes=answer.classes,
        **encoder.record(),
        environment=environment(reader=reader, device=device, precision="float32"),
        leaked=bool(seen),
        leak=str(seen) if seen else "",
        details=answer.details,
    )


def owners(manifest: Manifest) -> np.ndarray:
    """Source group of every row; a video without one is its own."""
    groups = manifest.groups()
    return np.where(groups == 0, np.arange(len(groups)), groups)


def splits_of(manifest: Manifest) -> list[int]:
    """Numbers of the splits that a manifest has columns for."""
    return sorted(int(n[5:]) for n in manifest.table.column_names if n.startswith("split") and n[5:].isdigit())


def guard(encoder: Encoder, manifest: Manifest) -> None:
    """Refuse splits whose test videos were seen in pretraining.

    Raises:
        UserError: naming how much was seen and which splits are clean; or there is no such split.
    """
    for split in encoder.splits:
        manifest.listed(split, "test")
        if found := overlap(encoder, manifest, split=split):
            clean = [s for s in splits_of(manifest) if not overlap(encoder, manifest, split=s)]
            leak.refuse(found, name=encoder.run, split=split, clean=clean)


def overlap(encoder: Encoder, manifest: Manifest, *, split: int) -> leak.Leak:
    """What a trained encoder saw of a split's test list; controls saw nothing."""
    test = np.flatnonzero(manifest.table[f"split{split}"].to_numpy() == "test")
    seen = encoder.seen if encoder.kind == TRAINED else None
    groups, content = manifest.groups()[test], manifest.content()[test]
    return leak.overlap(seen, dataset=manifest.dataset, groups=groups, content=content)


def _health(found: Lists, lost: list[Lost]) -> dict[str, Any]:
    """How many of the listed videos were used, and which were not."""
    where = {"gallery": found.gallery_listed, "test": found.test_listed}
    failures = [
        {"path": video.path, "part": part, "reason": video.reason}
        for part, rows in where.items()
        for video in lost
        if video.row in rows
    ]
    counts = {"num_scored": len(found.test), "num_listed": len(found.test_listed)}
    counts |= {"num_gallery": len(found.gallery), "num_gallery_listed": len(found.gallery_listed)}
    return {**counts, "failures": failures}
