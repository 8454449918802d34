"""Labelled images beside the videos, for co-training: a folder of class folders, drawn inside `__getitem__`."""

import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from vssl.data.reader import ReadError
from vssl.errors import UserError
from vssl.seeds import seed_of, seeded
from vssl.types import Key
from vssl.views.augment import cut, draw_geometry
from vssl.views.plan import View

_SUFFIXES = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True)
class ImageFolder:
    """Where labelled images lie: one folder per class, at any depth below it JPEG and PNG files.

    Args:
        root: Folder of the class folders.
        fraction: Share of each class that is used, at least one image of each.
        seed: Of that choice; not the run's, so that runs of several seeds see the same subset.
    """

    root: str
    fraction: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise UserError(f"data.images.fraction={self.fraction}", "a share lies in (0, 1]", "Try 0.1 or 1.")


class ImageList:
    """The images of a folder, after the choice of a subset: an arrow table of names, no Python object per image.

    Raises:
        UserError: No such folder, or no image in it.
    """

    def __init__(self, folder: ImageFolder) -> None:
        self.root = Path(folder.root)
        if not self.root.is_dir():
            raise UserError(folder.root, "no such folder", "data.images.root is the folder of the class folders")
        self.classes = sorted(entry.name for entry in self.root.iterdir() if entry.is_dir())
        names, labels = [], []
        for number, name in enumerate(self.classes):
            found = sorted(_images(self.root / name, self.root))
            order = torch.randperm(len(found), generator=seeded(folder.seed, "images", name)).tolist()
            kept = sorted(order[: max(1, round(folder.fraction * len(found)))])
            names += [found[i] for i in kept]
            labels += [number] * len(kept)
        if not names:
            raise UserError(folder.root, "holds no JPEG or PNG below class folders", "Set data.images.root")
        self._names = pa.array(names, pa.string())
        self.labels = np.array(labels, np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    @functools.cached_property
    def digest(self) -> str:
        """Of the names in use."""
        return hashlib.blake2b("\n".join(self._names.to_pylist()).encode(), digest_size=16).hexdigest()

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
        path = str(self.root / self._names[place].as_py())
        try:
            with Image.open(path) as file:
                image = torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1)  # (3, h, w) uint8
        except (UnidentifiedImageError, OSError) as error:
            raise ReadError(path, "no image that can be decoded") from error
        height, width = image.shape[-2:]
        rng = seeded(seed, key.epoch, key.row, key.copy, "image", number)
        augment = view.augment[0]
        boxes, flips = draw_geometry(augment, height=height, width=width, size=view.size, num_frames=1, rng=rng)
        return cut(image[None], torch.zeros(1).long(), boxes, flips, view.size, augment.interpolation)[0]


@functools.lru_cache(maxsize=2)
def _permutation(length: int, seed: int) -> np.ndarray:
    return torch.randperm(length, generator=torch.Generator().manual_seed(seed)).numpy()


def _images(folder: Path, root: Path) -> list[str]:
    found = []
    for parent, _, files in os.walk(folder):
        found += [Path(parent, file).relative_to(root).as_posix() for file in files if _is_image(file)]
    return found


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in _SUFFIXES
