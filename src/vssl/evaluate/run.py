"""From encoders and a manifest to result files: the features that are missing first, then every score."""

from typing import NamedTuple

import numpy as np
from rich.progress import Progress

from vssl.data.manifest import Manifest
from vssl.distributed import from_first, rank, shared_mistakes, world_size
from vssl.evaluate.cache import Cache
from vssl.evaluate.clips import TASKS
from vssl.evaluate.clips.norms import as_run
from vssl.evaluate.encoder import Encoder
from vssl.evaluate.features import Features
from vssl.evaluate.passes import Need, Settings, fill
from vssl.evaluate.protocol import NORMAL, Protocol
from vssl.evaluate.readouts import READOUTS, Part
from vssl.evaluate.result import Result, find, write
from vssl.evaluate.score import Task, lists, owners, record


class Job(NamedTuple):
    """Encoders under one protocol, each with the input that the protocol gives it."""

    protocol: Protocol
    encoders: list[Encoder]


def evaluate(jobs: list[Job], *, manifest: Manifest, labels: list[str], settings: Settings) -> list[Result]:
    """Score every encoder on its splits and all labels; results that exist are read, the others computed and written.

    Under DDP every process calls it; they share the work out, and all return the same.

    Raises:
        UserError: a label column or split is not there, no video can be read, or features are not finite.
    """
    for job in jobs:
        job.protocol.must_run()
    tables = {label: manifest.labels(label) for label in labels}
    every = list(_tasks(jobs, manifest=manifest, labels=labels, settings=settings))
    there = from_first([not settings.force and find(task.encoder.folder, task.key) is not None for task in every])
    tasks = [task for task, done in zip(every, there, strict=True) if not done]
    cache = Cache(settings.console)
    frozen, training = ([t for t in tasks if (t.protocol["task"] in TASKS) == trains] for trains in (False, True))
    fill([_need(task, manifest) for task in frozen], cache, manifest=manifest, settings=settings)
    with (
        shared_mistakes(),
        Progress(console=settings.console, transient=True, disable=settings.console is None) as progress,
    ):
        for task in progress.track(frozen[rank() :: world_size()], description="scores"):
            score(task, cache, manifest=manifest, table=tables[task.label], settings=settings)
    trained = {id(task): _trained(task, manifest, tables[task.label], settings) for task in training}
    return [trained.get(id(task)) or _written(task) for task in every]


def _written(task: Task) -> Result:
    found = find(task.encoder.folder, task.key)
    assert found is not None
    return found


def _trained(task: Task, manifest: Manifest, table: tuple[np.ndarray, list[str]], settings: Settings) -> Result:
    from vssl.evaluate.clips import train  # Lightning takes seconds to load

    return train.score(task, manifest=manifest, table=table, settings=settings)


def score(
    task: Task, cache: Cache, *, manifest: Manifest, table: tuple[np.ndarray, list[str]], settings: Settings
) -> Result:
    """One score from kept features, written; `table` holds class ids per row (-1: none) and class names."""
    encoder, protocol, (ids, classes) = task.encoder, task.protocol, table
    columns = {v: encoder.column(protocol, v, manifest=manifest.content_hash) for v in protocol.variants}
    variants = {variant: cache.load(name) for variant, name in columns.items()}
    # a video is scored where every variant of it could be read
    readable = variants[NORMAL].rows
    for features in variants.values():
        readable = np.intersect1d(readable, features.rows)
    found = lists(task, manifest, ids=ids, readable=readable)
    groups = owners(manifest)
    train, test = (
        Part(rows, ids[rows], groups[rows], {name: _at(features, rows) for name, features in variants.items()})
        for rows in (found.gallery, found.test)
    )
    answer = READOUTS[protocol["task"]](protocol, train, test, classes=list(classes), device=settings.device)
    lost = sorted({video.row: video for features in variants.values() for video in features.lost}.values())
    result = record(task, answer, found, manifest=manifest, lost=lost, reader=settings.reader, device=settings.device)
    write(result, encoder.folder, answer.arrays)
    return result


def _at(features: Features, rows: np.ndarray) -> np.ndarray:
    return features.values[np.searchsorted(features.rows, rows)]


def _need(task: Task, manifest: Manifest) -> Need:
    rows = np.concatenate([manifest.listed(task.split, part) for part in ("train", "test")])
    return Need(task.encoder, task.protocol, rows)


def _tasks(jobs: list[Job], *, manifest: Manifest, labels: list[str], settings: Settings) -> list[Task]:
    return [
        Task(e, protocol, split, label, e.key(protocol, manifest=manifest.content_hash, split=split, label=label))
        for asked, encoders in jobs
        for e in encoders
        for protocol in [as_run(asked, e, settings)]
        for split in e.splits
        for label in labels
    ]
