"""A video to a sample: a pure function of the seed and the key."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from vssl.data.images import ImageList
from vssl.data.manifest import Manifest
from vssl.data.reader import Backend, ReadError, choose_backend, read
from vssl.seeds import seeded
from vssl.types import Batch, Key, Sample
from vssl.views.draw import crop, draw
from vssl.views.plan import Plan, Recipe


class VideoDataset(Dataset[Sample]):
    """Plan, read once, cut: no hidden randomness, and never more of the video in memory than the plan asks for.

    Args:
        manifest: Where the videos are.
        recipe: Which frames and which augmentation.
        labels: (rows of the manifest,) class ids, -1 where unknown.
        seed: Of every draw.
        backend: The reader that `choose_backend` took.
        images: Labelled images, where the recipe asks for some.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        recipe: Recipe,
        labels: np.ndarray,
        seed: int,
        backend: Backend = "pyav",
        images: ImageList | None = None,
    ) -> None:
        self.manifest, self.recipe, self.labels, self.seed = manifest, recipe, labels, seed
        self.backend: Backend = backend
        self.images = images

    def plan(self, key: Key) -> Plan:
        """Which frames the sample of `key` takes."""
        rng = seeded(self.seed, key.epoch, key.row, key.copy, "plan")
        return self.recipe.sampler(self.manifest.meta(key.row), rng)

    def __getitem__(self, key: Key) -> Sample:
        """The sample of `key`.

        Raises:
            ReadError: A frame that the manifest promises does not decode.
        """
        meta, plan = self.manifest.meta(key.row), self.plan(key)
        drawn = draw(self.recipe.views, plan, meta, seed=self.seed, key=key)
        indices = torch.unique(torch.cat([p.flatten() for p in plan.views.values()]))  # sorted
        frames = read(self.manifest.video(key.row), indices, self.backend)  # (n, 3, h, w)
        views = {
            name: torch.stack(crop(frames, torch.searchsorted(indices, plan.views[name]), view, drawn[name]))
            for name, view in self.recipe.views.items()
        }
        return Sample(
            views=views,
            params={name: drawn[name].photometry for name in views},
            targets=plan.targets,
            images=self._images(key),
            label=torch.tensor(int(self.labels[key.row])),
            row=torch.tensor(key.row),
        )

    def _images(self, key: Key) -> dict[str, Tensor]:
        if self.images is None:
            return {}
        view = self.recipe.image_view
        assert view is not None
        return self.images.draw(key, self.recipe.images, view=view, seed=self.seed)


def check(sample: Sample, plan: Plan, recipe: Recipe) -> None:
    """Assert that a sample has the shapes its recipe promises."""
    assert set(sample.views) == set(recipe.views) == set(plan.views)
    for name, view in recipe.views.items():
        rows, num_frames = plan.views[name].shape
        assert sample.views[name].dtype == torch.uint8
        assert sample.views[name].shape == (rows, num_frames, 3, view.size, view.size)
        assert all(p.shape[0] == rows and p.shape[1] in (1, num_frames) for p in sample.params[name].values())
    if recipe.images:
        assert recipe.image_view is not None
        side = recipe.image_view.size
        assert sample.images["pixels"].shape == (recipe.images, 3, side, side)
        assert sample.images["label"].shape == (recipe.images,)
    assert sample.label.shape == sample.row.shape == ()


class Failure(NamedTuple):
    """A video that evaluation could not read: listed, never replaced."""

    row: int
    path: str
    reason: str


class _Lenient(Dataset["Sample | Failure"]):
    """Evaluation rows in order; a video that does not decode is an answer, not an end."""

    def __init__(self, dataset: VideoDataset, rows: np.ndarray) -> None:
        self.dataset, self.rows = dataset, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample | Failure:
        row = int(self.rows[index])
        if self.dataset.manifest.meta(row).num_frames == 0:
            return Failure(row, self.dataset.manifest.name(row), "the index found it unreadable")
        try:
            return self.dataset[Key(0, row, 0, index)]
        except ReadError as error:
            return Failure(row, self.dataset.manifest.name(row), error.reason)


def _collate(items: list[Sample | Failure]) -> tuple[Batch | None, list[Failure]]:
    samples = [item for item in items if isinstance(item, Sample)]
    return default_collate(samples) if samples else None, [item for item in items if isinstance(item, Failure)]


def evaluation_loader(
    manifest: Manifest,
    rows: np.ndarray,
    *,
    recipe: Recipe,
    reader: Literal["auto", "pyav", "torchcodec"] = "auto",
    num_workers: int = 0,
    batch_size: int = 16,
) -> Iterator[tuple[Batch | None, list[Failure]]]:
    """Every row once, in order: stacked samples, and the rows that could not be read.

    Args:
        manifest: Where the videos are.
        rows: Manifest rows, unreadable ones included.
        recipe: Frames and crop, nothing random.
        reader: "auto", "pyav" or "torchcodec".
        num_workers: Loader processes.
        batch_size: Videos per batch.
    """
    labels = np.full(len(manifest), -1, dtype=np.int64)
    backend, _ = choose_backend(reader, manifest)
    dataset = VideoDataset(manifest, recipe=recipe, labels=labels, seed=0, backend=backend)
    loader = DataLoader(_Lenient(dataset, rows), batch_size=batch_size, num_workers=num_workers, collate_fn=_collate)
    return iter(loader)


def to_float(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """uint8 (..., 3, H, W) to normalised float: (x / 255 - mean) / std."""
    x = pixels.float().div_(255.0)
    return x.sub_(x.new_tensor(mean).view(3, 1, 1)).div_(x.new_tensor(std).view(3, 1, 1))
