"""Which videos, in which order: one permutation per epoch, cut into global batches, shared out over ranks."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DistributedSampler

from vssl.seeds import seeded
from vssl.types import Key


class EpochSampler(DistributedSampler[Key]):
    """Yields this rank's `Key`s of one epoch; the epoch travels inside the key, so workers need to be told nothing.

    Step k holds the same set of samples on 1, 2 or 8 ranks. The last partial global batch is dropped. Being a
    `DistributedSampler`, Lightning leaves it alone; it would put a shuffling one in place of any other.

    Args:
        rows: Manifest rows to train on.
        batch_size: Global batch.
        copies: How often each row is listed per epoch.
        seed: Of the permutation.
        epoch: Epoch of the first iteration.
        skip: Global batches of that epoch that are already done (mid-epoch resume); later epochs are whole.
        rank, world_size: This process and how many there are.
    """

    def __init__(
        self,
        rows: np.ndarray,
        *,
        batch_size: int,
        copies: int = 1,
        seed: int = 0,
        epoch: int = 0,
        skip: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        assert batch_size % world_size == 0
        self.rows, self.copies, self.seed = rows, copies, seed
        self.batch_size, self.rank, self.num_replicas = batch_size, rank, world_size
        self.epoch, self.skip, self.skip_epoch = epoch, skip, epoch

    @property
    def batches(self) -> int:
        """Global batches per epoch."""
        return len(self.rows) * self.copies // self.batch_size

    def __len__(self) -> int:
        """This rank's samples per epoch; a resumed epoch is shorter inside, and Lightning counts what it has done."""
        return self.batches * self.batch_size // self.num_replicas

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before every epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Key]:
        """This rank's keys, in the order of the global batches."""
        total = len(self.rows) * self.copies
        order = torch.randperm(total, generator=seeded(self.seed, "order", self.epoch)).numpy()
        share = self.batch_size // self.num_replicas
        done = self.skip if self.epoch == self.skip_epoch else 0
        for batch in range(done, self.batches):
            first = batch * self.batch_size + self.rank * share
            for position in range(first, first + share):
                place = int(order[position])
                row, copy = int(self.rows[place % len(self.rows)]), place // len(self.rows)
                yield Key(self.epoch, row, copy, position)
