"""The one datamodule: files, batching, sharding, order, resume. Frames and augmentation come from the recipe."""

import functools
import hashlib
import logging
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from vssl.data.dataset import VideoDataset, check
from vssl.data.images import ImageList, LabelledImages
from vssl.data.manifest import Manifest
from vssl.data.reader import Backend, choose_backend
from vssl.data.sampler import EpochSampler
from vssl.distributed import rank, world_size
from vssl.errors import UserError
from vssl.seeds import seeded
from vssl.types import Key, Sample
from vssl.views.plan import Recipe

logger = logging.getLogger(__name__)


class VideoDataModule(LightningDataModule):
    """Serves the training rows of a manifest as a method's recipe asks for them.

    Args:
        manifest: CSV made by `vssl data index`.
        recipe: The method's; from the command line it is linked, from Python pass `method.recipe`.
        root: Folder of the videos, where it is not the one that was indexed.
        label: Column that monitors and evaluation read as the class; training does not.
        split: Official split whose train list is used.
        subset: "train", or "all" rows of the manifest (then no split of it can be evaluated honestly).
        batch_size: Videos per step over all ranks.
        num_workers: Loader processes per rank; -1: as many as there are cores, at most 8. The batches do not change.
        reader: "auto" takes torchcodec for the files on which it was verified, PyAV for the rest.
        images: Labelled images, for a method that is co-trained with some.
        seed: Of order and augmentation; from the command line it is `seed_everything`.
    """

    def __init__(
        self,
        manifest: str,
        *,
        recipe: Recipe,
        root: str | None = None,
        label: str = "label",
        split: int = 1,
        subset: Literal["train", "all"] = "train",
        batch_size: int = 32,
        num_workers: int = -1,
        reader: Literal["auto", "pyav", "torchcodec"] = "auto",
        images: LabelledImages | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise UserError(f"data.batch_size={batch_size}", "must be at least 1", "Try 32.")
        self.manifest = Manifest.load(Path(manifest), root=None if root is None else Path(root))
        self.recipe, self.label, self.split, self.subset = recipe, label, split, subset
        self.batch_size, self.seed = batch_size, seed
        self.num_workers = num_workers if num_workers >= 0 else min(os.cpu_count() or 1, 8)
        self.label_ids, self.class_names = self.manifest.labels(label)
        self.rows = self._accepted(self.manifest.rows(split, subset))
        if self.batches_per_epoch < 1:
            raise UserError(
                f"data.batch_size={batch_size}",
                f"an epoch has only {len(self.rows) * recipe.copies} samples and a partial batch is dropped",
                "Lower data.batch_size.",
            )
        self.images = self._images(images)
        self.backend: Backend
        self.backend, self.reader_choice = choose_backend(reader, self.manifest)
        self._epoch, self._skip = 0, 0
        # what cannot work fails here, in one line, and not in a worker once training runs
        key = Key(0, int(self.rows[0]), 0, 0)
        dataset = self._dataset()
        check(dataset[key], dataset.plan(key), recipe)

    def _dataset(self) -> VideoDataset:
        return VideoDataset(
            self.manifest,
            recipe=self.recipe,
            labels=self.label_ids,
            seed=self.seed,
            backend=self.backend,
            images=self.images,
        )

    def _accepted(self, rows: np.ndarray) -> np.ndarray:
        accepts = self.recipe.sampler.accepts
        keep = np.array([accepts(self.manifest.meta(int(row))) for row in rows], dtype=bool)
        if not keep.all():
            logger.warning("%d of %d videos are refused by the sampler", int((~keep).sum()), len(rows))
        return rows[keep]

    def _images(self, given: LabelledImages | None) -> ImageList | None:
        wanted = self.recipe.images
        if given is None or not wanted:
            if given is not None:
                raise UserError("data.images", "this method takes no labelled images", "Leave it out.")
            if wanted:
                rule = f"the method takes {wanted} labelled images per video"
                raise UserError("data.images", rule, "Set data.images.root to a folder of class folders.")
            return None
        images = ImageList(given)
        if len(images.classes) != self.recipe.image_classes:
            rule = f"has {len(images.classes)} classes, the method's classifier {self.recipe.image_classes}"
            raise UserError(given.root or "data.images.source", rule, f"Set model.co.classes to {len(images.classes)}.")
        return images

    @property
    def batches_per_epoch(self) -> int:
        """Global batches per epoch, the partial one dropped."""
        return len(self.rows) * self.recipe.copies // self.batch_size

    @functools.cached_property
    def clips_per_video(self) -> int:
        """Clips (or single frames) that the method sees of a video in one draw, re-cut views not counted."""
        plan = self.recipe.sampler(self.manifest.meta(int(self.rows[0])), seeded("clips per video"))
        return sum(
            plan.views[name].shape[0] for name, view in self.recipe.views.items() if view.like is None and view.counted
        )

    @functools.cached_property
    def seen(self) -> dict[str, Any]:
        """What pretraining saw, as a checkpoint records it: strings, numbers and tensors."""
        m = self.manifest
        groups = np.unique(m.groups()[self.rows])
        labelled = {"images": self.images.digest, "num_images": len(self.images)} if self.images else {}
        return labelled | {
            "dataset": m.dataset,
            "manifest": m.content_hash,
            "split": self.split,
            "subset": self.subset,
            "num_videos": len(self.rows),
            "rows": hashlib.blake2b(np.sort(self.rows).astype("<i8").tobytes(), digest_size=16).hexdigest(),
            "groups": torch.from_numpy(groups[groups != 0]),
            "content": torch.from_numpy(np.unique(m.content()[self.rows])),
        }

    def summary(self) -> str:
        """One line on what an epoch is."""
        total = len(self.rows) * self.recipe.copies
        dropped = total - self.batches_per_epoch * self.batch_size
        what = f"{len(self.rows)} videos of {self.manifest.dataset} ({self.subset}, split {self.split})"
        copies = f" x {self.recipe.copies}" if self.recipe.copies > 1 else ""
        images = f", {self.recipe.images} of {len(self.images)} labelled images with each" if self.images else ""
        return (
            f"{what}{copies}{images}, {self.batches_per_epoch} batches of {self.batch_size}; "
            f"{dropped} samples of an epoch dropped; {self.reader_choice}"
        )

    def train_dataloader(self) -> DataLoader[Sample]:
        """This rank's loader, from the position of a resumed run."""
        world = world_size()
        if self.batch_size % world:
            raise UserError(
                f"data.batch_size={self.batch_size}",
                f"the global batch must be a multiple of the {world} processes",
                f"Try {max(1, self.batch_size // world) * world}.",
            )
        sampler = EpochSampler(
            self.rows,
            batch_size=self.batch_size,
            copies=self.recipe.copies,
            seed=self.seed,
            epoch=self._epoch,
            skip=self._skip,
            rank=rank(),
            world_size=world,
        )
        return DataLoader(
            self._dataset(),
            batch_size=self.batch_size // world,
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def state_dict(self) -> dict[str, int]:
        """(epoch, global batches of it done); a whole epoch done is the next one's beginning."""
        assert self.trainer is not None
        loop = self.trainer.fit_loop
        # epochs begun, not trainer.current_epoch: that one counts on before the hooks of the epoch's end save
        epoch = loop.epoch_progress.current.ready - 1
        over, batches = divmod(loop.epoch_loop.batch_progress.current.ready, self._batches())
        return {"epoch": epoch + over, "batches": batches}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue there."""
        self._epoch, self._skip = state_dict["epoch"], state_dict["batches"]

    def _batches(self) -> int:
        assert self.trainer is not None
        limit = self.trainer.limit_train_batches
        return min(self.batches_per_epoch, limit) if isinstance(limit, int) else int(self.batches_per_epoch * limit)
