"""Labelled images beside the videos, for co-training, drawn inside `__getitem__`."""

import functools
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import UnidentifiedImageError
from torch import Tensor

from vssl.data.image_sources import ClassFolders, Source, torchvision_source
from vssl.data.reader import ReadError
from vssl.errors import UserError
from vssl.seeds import seed_of, seeded
from vssl.types import Key
from vssl.views.augment import autoaugment, cut, draw_autoaugment, draw_geometry
from vssl.views.plan import View


@dataclass(frozen=True)
class LabelledImages:
    """Where labelled images come from: class folders, or a data set of torchvision. Nothing is ever downloaded.

    Args:
        root: Folder of one folder per class, at any depth below it JPEG and PNG files.
        source: `{class_path: torchvision.datasets.CIFAR10, init_args: {root: ...}}`, instead of `root`.
        fraction: Share of each class that is used, at least one image of each.
        seed: Of that choice; not the run's, so that runs of several seeds see the same subset.
    """

    root: str | None = None
    source: dict[str, Any] | None = None
    fraction: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise UserError(f"data.images.fraction={self.fraction}", "a share lies in (0, 1]", "Try 0.1 or 1.")
        if (self.root is None) == (self.source is None):
            raise UserError("data.images", "takes one of root and source", "Set data.images.root to class folders.")

    def open(self) -> Source:
        """What is there; `UserError` where nothing is."""
        if self.source is not None:
            return torchvision_source(self.source)
        assert self.root is not None
        return ClassFolders(self.root)


class ImageList:
    """The images of a source, after the choice of a subset; no Python object per image.

    Raises:
        UserError: There is no such source.
    """

    def __init__(self, given: LabelledImages) -> None:
        self.source = given.open()
        self.classes = self.source.classes
        chosen = []
        for number, name in enumerate(self.classes):
            found = np.flatnonzero(self.source.labels == number)
            order = torch.randperm(len(found), generator=seeded(given.seed, "images", name)).numpy()
            if len(found):
                chosen.append(found[np.sort(order[: max(1, round(given.fraction * len(found)))])])
        self._chosen = np.concatenate(chosen)
        self.labels = self.source.labels[self._chosen]

    def __len__(self) -> int:
        return len(self.labels)

    @functools.cached_property
    def digest(self) -> str:
        """Of the names in use."""
        names = "\n".join(self.source.name(int(i)) for i in self._chosen)
        return hashlib.blake2b(names.encode(), digest_size=16).hexdigest()

    def places(self, key: Key, number: int, seed: int) -> list[int]:
        """The images of one draw: `number` of them from place position * number of the epoch's permutation on."""
        drawn = []
        for i in range(key.position * number, (key.position + 1) * number):
            cycle, place = divmod(i, len(self))
            drawn.append(int(_permutation(len(self), seed_of(seed, "images", key.epoch, cycle))[place]))
        return drawn

    def draw(self, key: Key, number: int, *, view: View, seed: int) -> dict[str, Tensor]:
        """The labelled images that go with a video: a pure function of the seed and the key.

        Returns:
            `pixels` (I, 3, S, S) uint8 and `label` (I,) int64.

        Raises:
            ReadError: An image does not decode.
        """
        places = self.places(key, number, seed)
        pixels = [self._cut(place, i, key=key, view=view, seed=seed) for i, place in enumerate(places)]
        return {"pixels": torch.stack(pixels), "label": torch.from_numpy(self.labels[places])}

    def _cut(self, place: int, number: int, *, key: Key, view: View, seed: int) -> Tensor:
        index = int(self._chosen[place])
        try:
            image = torch.from_numpy(np.array(self.source.image(index).convert("RGB"))).permute(2, 0, 1)  # (3, h, w)
        except (UnidentifiedImageError, OSError) as error:
            raise ReadError(self.source.name(index), "no image that can be decoded") from error
        height, width = image.shape[-2:]
        at, augment = (seed, key.epoch, key.row, key.copy), view.augment[0]
        rng = seeded(*at, "image", number)
        boxes, flips = draw_geometry(augment, height=height, width=width, size=view.size, num_frames=1, rng=rng)
        pixels = cut(image[None], torch.zeros(1).long(), boxes, flips, view.size, augment.interpolation)
        return autoaugment(pixels, draw_autoaugment(augment, 1, seeded(*at, "image policy", number)))[0]


@functools.lru_cache(maxsize=2)
def _permutation(length: int, seed: int) -> np.ndarray:
    return torch.randperm(length, generator=torch.Generator().manual_seed(seed)).numpy()
