"""Where labelled images lie: class folders, or a data set of torchvision that is already there."""

import os
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import torchvision.datasets
from PIL import Image

from vssl.errors import UserError

_SUFFIXES = {".jpg", ".jpeg", ".png"}
_PREFIX = "torchvision.datasets."


@runtime_checkable
class Source(Protocol):
    """Images by number, with their classes."""

    classes: list[str]
    labels: np.ndarray
    """(N,) int64 indices of `classes`."""

    def name(self, index: int) -> str:
        """What is called so in messages and enters the digest of the subset."""
        ...

    def image(self, index: int) -> Image.Image:
        """Decode one; `OSError` where it does not."""
        ...


class ClassFolders:
    """One folder per class, at any depth below it JPEG and PNG files; names in an arrow table.

    Raises:
        UserError: No such folder, or no image in it.
    """

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise UserError(root, "no such folder", "data.images.root is the folder of the class folders")
        self.classes = sorted(entry.name for entry in self.root.iterdir() if entry.is_dir())
        names, labels = [], []
        for number, name in enumerate(self.classes):
            found = sorted(_images(self.root / name, self.root))
            names += found
            labels += [number] * len(found)
        if not names:
            raise UserError(root, "holds no JPEG or PNG below class folders", "Set data.images.root")
        self._names = pa.array(names, pa.string())
        self.labels = np.array(labels, np.int64)

    def name(self, index: int) -> str:
        """Path below the root."""
        return self._names[index].as_py()

    def image(self, index: int) -> Image.Image:
        """Decode one."""
        with Image.open(self.root / self.name(index)) as file:
            return file.convert("RGB")


class TorchvisionImages:
    """A data set of torchvision whose items are (PIL image, class) and that knows its classes without decoding."""

    def __init__(self, dataset: Any, labels: np.ndarray) -> None:
        self.dataset, self.labels = dataset, labels
        named = getattr(dataset, "classes", None)
        self.classes = list(map(str, named if named is not None else range(int(labels.max()) + 1)))

    def name(self, index: int) -> str:
        """Name of the data set and number of the image."""
        return f"{type(self.dataset).__name__}[{index}]"

    def image(self, index: int) -> Image.Image:
        """Decode one."""
        return self.dataset[index][0]


def torchvision_source(given: dict[str, Any]) -> Source:
    """Open `{class_path: torchvision.datasets.NAME, init_args: {...}}`.

    Raises:
        UserError: No such class, arguments that it does not take, a download asked for, no files, or no labels.
    """
    path, arguments = str(given.get("class_path")), given.get("init_args") or {}
    remedy = "Write {class_path: torchvision.datasets.CIFAR10, init_args: {root: FOLDER}}."
    cls = getattr(torchvision.datasets, path.removeprefix(_PREFIX), None) if path.startswith(_PREFIX) else None
    if not isinstance(cls, type) or given.keys() - {"class_path", "init_args"}:
        raise UserError(f"data.images.source={given}", "names no data set of torchvision", remedy)
    if arguments.get("download"):
        raise UserError(
            f"{path}: download", "nothing is ever downloaded", "Leave it out, and fetch the files yourself."
        )
    try:
        dataset = cls(**arguments)
    except (TypeError, ValueError) as error:
        raise UserError(path, f"does not take {arguments} ({error})", "See its documentation.") from error
    except (RuntimeError, OSError) as error:  # torchvision's two ways to say that files are missing or broken
        rule = f"its files are not in {arguments.get('root')}"
        raise UserError(path, rule, "Fetch them yourself; nothing is ever downloaded.") from error
    return TorchvisionImages(dataset, _labels(dataset, path))


def _labels(dataset: Any, path: str) -> np.ndarray:
    for name in ("targets", "labels", "_labels"):
        found = getattr(dataset, name, None)
        if found is not None:
            labels = np.asarray(found)
            if labels.ndim == 1 and len(labels) == len(dataset) and labels.dtype.kind in "iu" and labels.min() >= 0:
                return labels.astype(np.int64)
    raise UserError(path, "has no list of one class per image", "Take another data set, or class folders.")


def _images(folder: Path, root: Path) -> list[str]:
    found = []
    for parent, _, files in os.walk(folder):
        found += [Path(parent, file).relative_to(root).as_posix() for file in files if _is_image(file)]
    return found


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in _SUFFIXES
