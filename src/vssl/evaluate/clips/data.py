"""Which videos train, and which clips of them."""

from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from vssl.backbones.base import Input
from vssl.data.manifest import Manifest
from vssl.data.module import VideoDataModule
from vssl.errors import UserError
from vssl.evaluate.features import VIEW, Lost
from vssl.evaluate.fields import NONE, TEST, TRAIN_VIDEOS
from vssl.evaluate.protocol import Protocol
from vssl.evaluate.score import Task
from vssl.seeds import seeded
from vssl.views.augment import Augment
from vssl.views.plan import Recipe, View
from vssl.views.samplers import RandomClips


class Rows(NamedTuple):
    """Labelled rows of one split."""

    train: np.ndarray
    """Readable, without those that the epoch is chosen on."""
    validation: np.ndarray
    test: np.ndarray
    """With those that cannot be read."""
    lost: list[Lost]
    """Train videos that the index found unreadable."""


def rows_of(task: Task, manifest: Manifest, ids: np.ndarray) -> Rows:
    """The lists of a task.

    Raises:
        UserError: there is no such split, a list is empty, or the protocol takes more videos aside than there are.
    """
    train, test = (manifest.listed(task.split, part) for part in ("train", "test"))
    train, test = train[ids[train] >= 0], test[ids[test] >= 0]
    if not len(train) or not len(test):
        rule = f"has {len(train)} train and {len(test)} test videos with a {task.label}"
        raise UserError(f"split {task.split}", rule, "Choose another --splits or --label")
    readable = np.array([manifest.meta(row).num_frames > 0 for row in train])
    lost = [Lost(int(row), manifest.name(row), "the index found it unreadable") for row in train[~readable]]
    train, aside = train[readable], _aside(task, manifest, train[readable], test)
    return Rows(np.setdiff1d(train, aside), aside, test, lost)


def _aside(task: Task, manifest: Manifest, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    source = task.protocol["splits.validation"]
    if source == NONE:
        return train[:0]
    if source == TEST:
        return test
    assert source == TRAIN_VIDEOS
    given = task.protocol["splits.validation_videos"]
    count = given.get(manifest.dataset) if isinstance(given, dict) else given
    if count is None or not 0 < count < len(train):
        rule = f"takes {count or 'an unknown number'} of the {len(train)} train videos of {manifest.dataset} aside"
        raise UserError(task.protocol.name, rule, "Say how many: --set splits.validation_videos=N")
    chosen = torch.randperm(len(train), generator=seeded("validation", task.split))[:count]
    return train[np.sort(chosen.numpy())]


def training_recipe(protocol: Protocol, card: Input) -> Recipe:
    """One clip of a video at a time, at a random place, augmented as the protocol says."""
    sampler = RandomClips(card.frames, card.stride, fps=protocol.fields.get("views.fps"))
    given: dict[str, Any] = {
        name.removeprefix("augment."): tuple(value) if isinstance(value, list) else value
        for name, value in protocol.fields.items()
        if name.startswith("augment.") and name != "augment.more"
    }
    view = View((Augment(**given),), card.size, card.mean, card.std)
    return Recipe(sampler, {VIEW: view}, copies=protocol["optimisation.clips_per_video"])


class LabelledClips(VideoDataModule):
    """Serves training clips of given rows of a manifest.

    Args:
        manifest: Of the videos.
        rows: Those that train.
        task: Says protocol, split, label and the encoder's input.
        num_workers, reader: As in `VideoDataModule`.
        seed: Of order and augmentation.
    """

    def __init__(
        self,
        manifest: Manifest,
        rows: np.ndarray,
        *,
        task: Task,
        num_workers: int,
        reader: Literal["auto", "pyav", "torchcodec"],
        seed: int,
    ) -> None:
        recipe, batch = training_recipe(task.protocol, task.encoder.card), task.protocol["optimisation.batch"]
        if len(rows) * recipe.copies < batch:
            rule = f"an epoch has only {len(rows) * recipe.copies} clips and a partial batch is dropped"
            raise UserError(f"optimisation.batch={batch}", rule, "Lower it: --set optimisation.batch=N")
        super().__init__(
            str(manifest.path),
            recipe=recipe,
            root=str(manifest.root),
            label=task.label,
            split=task.split,
            batch_size=batch,
            num_workers=num_workers,
            reader=reader,
            seed=seed,
        )
        self.rows = rows
