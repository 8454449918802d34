"""`Bank`: a ring of the last K embeddings. K rows, D width, N new rows per call."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vssl.errors import UserError


class Bank(nn.Module):
    """The last K rows that were put in, first in first out; buffers, so that checkpoints hold it.

    Every rank keeps the same bank: it starts from `seed` alone, and callers put in rows gathered over all ranks.

    Args:
        size: K; a multiple of the number of rows put in at a time.
        dim: D.
        init: "rows": random rows of unit length; "columns": unit columns, as ISD and auxSKD's code have them, whose
            rows have a length of about sqrt(D / K) (auxskd.md 2.5).
        seed: Of the start values.
    """

    rows: Float[Tensor, "k d"]
    pointer: Tensor
    """() int64: the row that is overwritten next."""

    def __init__(self, size: int, dim: int, *, init: Literal["rows", "columns"] = "rows", seed: int = 0) -> None:
        super().__init__()
        drawn = torch.randn(size, dim, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("rows", F.normalize(drawn, dim=1 if init == "rows" else 0))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    def check(self, batch: int) -> None:
        """Whether rows can come `batch` at a time; methods ask before training.

        Raises:
            UserError: K is not a multiple of it.
        """
        size = len(self.rows)
        if size % batch:
            sizes = [n for n in range(1, size + 1) if size % n == 0]
            near = min(sizes, key=lambda n: abs(n - batch))
            raise UserError(
                f"a batch of {batch}", f"does not divide the bank of {size} rows", f"Try a batch of {near}."
            )

    @torch.no_grad()
    def put(self, new: Float[Tensor, "n d"]) -> None:
        """Overwrite the N oldest rows; N as in `check`."""
        self.check(len(new))
        size = len(self.rows)
        at = int(self.pointer)
        self.rows[at : at + len(new)] = new.to(self.rows.dtype)
        self.pointer.fill_((at + len(new)) % size)
