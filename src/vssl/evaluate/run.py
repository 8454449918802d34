"""From encoders and a manifest to result files: one decoding pass for all encoders, splits and labels of one input."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from rich.console import Console

from vssl.data.dataset import evaluation_loader
from vssl.data.manifest import Manifest
from vssl.errors import UserError
from vssl.evaluate import controls, knn, leak, stats
from vssl.evaluate.encoder import Encoder, environment
from vssl.evaluate.features import Features, Lost, extract, recipe
from vssl.evaluate.protocol import Protocol
from vssl.evaluate.result import RANDOM, TRAINED, Result, find, write
from vssl.evaluate.stats import Scores
from vssl.views.plan import Recipe


@dataclass(frozen=True)
class Settings:
    """How to compute; nothing here changes a score."""

    num_workers: int = 0
    batch_size: int = 8
    reader: Literal["auto", "pyav", "torchcodec"] = "auto"
    device: str = "cpu"
    force: bool = False
    """Compute again what exists."""
    console: Console | None = None


class Task(NamedTuple):
    """One score that is asked for."""

    encoder: Encoder
    split: int
    label: str
    key: str


def evaluate(
    encoders: list[Encoder], *, manifest: Manifest, protocol: Protocol, labels: list[str], settings: Settings
) -> list[Result]:
    """Score every encoder on its splits and all labels; results that exist are read, the others computed and written.

    Raises:
        UserError: a label column or split is not there, no video can be read, or features are not finite.
    """
    tables = {label: manifest.labels(label) for label in labels}
    tasks, results = [], []
    for task in _tasks(encoders, manifest=manifest, protocol=protocol, labels=labels):
        done = None if settings.force else find(task.encoder.folder, task.key)
        if done:
            results.append(done)
        else:
            tasks.append(task)
    for group in _by_view(tasks):
        features = _features(group, manifest=manifest, protocol=protocol, settings=settings)
        for task in group:
            table = tables[task.label]
            result = score(task, features, manifest=manifest, protocol=protocol, table=table, settings=settings)
            write(result, task.encoder.folder)
            results.append(result)
    return results


class Lists(NamedTuple):
    """Rows of one split that have a label."""

    gallery: np.ndarray
    """Train videos whose features exist."""
    test: np.ndarray
    gallery_listed: np.ndarray
    """With those that could not be read."""
    test_listed: np.ndarray


def score(
    task: Task,
    features: Features,
    *,
    manifest: Manifest,
    protocol: Protocol,
    table: tuple[np.ndarray, list[str]],
    settings: Settings,
) -> Result:
    """Top-1 by kNN of one encoder on one split; `table` holds class ids per row (-1: none) and class names."""
    encoder, (ids, classes) = task.encoder, table
    lists = _lists(task, features, manifest=manifest, ids=ids)
    predicted = _predict(task, features, lists, protocol=protocol, ids=ids)
    groups = manifest.groups()[lists.test]
    groups = np.where(groups == 0, lists.test, groups)  # a video without a group is its own
    found = stats.interval([Scores(lists.test, groups, (predicted == ids[lists.test]).astype(float))])
    seen = overlap(encoder, manifest, split=task.split)
    columns = {"row": lists.test, "predicted": predicted, "true": ids[lists.test], "group": groups}
    return Result(
        key=task.key,
        dataset=manifest.dataset,
        manifest=manifest.content_hash,
        split=task.split,
        label=task.label,
        protocol=protocol.record(encoder.card._asdict()),
        metrics={"top1": found.mean},
        interval=[found.low, found.high],
        **_health(lists, features.lost),
        num_official=manifest.info.get("counts", {}).get(f"split{task.split} test", {}).get("official"),
        predictions={name: column.tolist() for name, column in columns.items()},
        classes=list(classes),
        **encoder.record(),
        environment=environment(reader=settings.reader, device=settings.device, precision="float32"),
        leaked=bool(seen),
        leak=str(seen) if seen else "",
    )


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


def _lists(task: Task, features: Features, *, manifest: Manifest, ids: np.ndarray) -> Lists:
    listed = [manifest.listed(task.split, part) for part in ("train", "test")]
    listed = [rows[ids[rows] >= 0] for rows in listed]
    gallery, test = (np.intersect1d(rows, features.rows) for rows in listed)
    if not len(gallery) or not len(test):
        what = f"has {len(gallery)} train and {len(test)} test videos with a {task.label}"
        raise UserError(f"split {task.split}", what, "Choose another --splits or --label")
    return Lists(gallery, test, listed[0], listed[1])


def _predict(task: Task, features: Features, lists: Lists, *, protocol: Protocol, ids: np.ndarray) -> np.ndarray:
    values = features.values[task.encoder.column]
    gallery, test = (values[np.searchsorted(features.rows, rows)] for rows in (lists.gallery, lists.test))
    k, temperature = protocol["neighbours.k"], protocol["neighbours.temperature"]
    return knn.predict(test, gallery, ids[lists.gallery], k=k, temperature=temperature)


def _health(lists: Lists, lost: list[Lost]) -> dict[str, Any]:
    """How many of the listed videos were used, and which were not."""
    where = {"gallery": lists.gallery_listed, "test": lists.test_listed}
    failures = [
        {"path": video.path, "part": part, "reason": video.reason}
        for part, rows in where.items()
        for video in lost
        if video.row in rows
    ]
    counts = {"num_scored": len(lists.test), "num_listed": len(lists.test_listed)}
    counts |= {"num_gallery": len(lists.gallery), "num_gallery_listed": len(lists.gallery_listed)}
    return {**counts, "failures": failures}


def _tasks(encoders: list[Encoder], *, manifest: Manifest, protocol: Protocol, labels: list[str]) -> list[Task]:
    return [
        Task(e, split, label, e.key(protocol, manifest=manifest.content_hash, split=split, label=label))
        for e in encoders
        for split in e.splits
        for label in labels
    ]


def _by_view(tasks: list[Task]) -> list[list[Task]]:
    groups: dict[Any, list[Task]] = {}
    for task in tasks:
        card = task.encoder.card
        groups.setdefault((card.size, card.frames, card.stride), []).append(task)
    return list(groups.values())


def _features(tasks: list[Task], *, manifest: Manifest, protocol: Protocol, settings: Settings) -> Features:
    """One decoding pass over the rows of all tasks, which share size, frames and stride."""
    card = tasks[0].encoder.card
    encoders = {task.encoder.column: task.encoder for task in tasks}
    if random := [(e.backbone, e.card) for e in encoders.values() if e.kind == RANDOM]:
        # of the first split whatever is scored, so that a control's score does not depend on what else is asked for
        rows = controls.calibration_rows(manifest.rows(splits_of(manifest)[0], "train"))
        wanted = recipe(protocol, card, clips=1)
        loader = _loader(manifest, rows, wanted, settings=settings, batch_size=controls.CALIBRATION_VIDEOS)
        controls.calibrate(random, loader=loader, device=settings.device)
    splits = {task.split for task in tasks}
    rows = np.unique(np.concatenate([manifest.listed(s, part) for s in splits for part in ("train", "test")]))
    return extract(
        {column: encoder.backbone for column, encoder in encoders.items()},
        loader=_loader(manifest, rows, recipe(protocol, card), settings=settings, batch_size=settings.batch_size),
        cards={column: encoder.card for column, encoder in encoders.items()},
        num_videos=len(rows),
        device=settings.device,
        console=settings.console,
    )


def _loader(
    manifest: Manifest, rows: np.ndarray, wanted: Recipe, *, settings: Settings, batch_size: int
) -> Iterator[Any]:
    return evaluation_loader(
        manifest,
        rows,
        recipe=wanted,
        reader=settings.reader,
        num_workers=settings.num_workers,
        batch_size=batch_size,
    )
