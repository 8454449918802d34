"""What crosses ranks, in plain sight: a loss never calls a collective, its caller does."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from vssl.errors import UserError

T = TypeVar("T")


def is_active() -> bool:
    """Whether more than one process trains together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Index of this process, 0 when alone."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes, 1 when alone."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def barrier() -> None:
    """Wait until every process is here."""
    if is_active():
        dist.barrier()


def from_first(value: T) -> T:
    """The first process's value, on all: what each would find for itself may have changed in between."""
    if not is_active():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


@contextmanager
def shared_mistakes() -> Iterator[None]:
    """What one process is told of is raised on all, so that none waits for it; leaving it, all are here.

    Raises:
        UserError: the first process's that has one.
    """
    own = None
    try:
        yield
    except UserError as error:
        own = error
    every = [own] * world_size()
    if is_active():
        dist.all_gather_object(every, own)
    for error in filter(None, every):
        raise error


def gather(x: Tensor) -> tuple[Tensor, int]:
    """Concatenate the ranks' equal shares along dim 0, without gradient.

    Returns:
        The (G * B, ...) tensor in rank order, equal on all ranks, and the index of this rank's first row.
    """
    x = x.detach()
    if not is_active():
        return x, 0
    shares = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(shares, x.contiguous())
    return torch.cat(shares), rank() * x.shape[0]


def gather_with_gradient(x: Tensor) -> tuple[Tensor, int]:
    """Concatenate the ranks' equal shares along dim 0; gradients of all ranks flow back to the rank of a row.

    The gradient of a row is the sum over the ranks' losses. DDP then takes the mean over ranks, so a loss that is
    the same on all ranks, or whose mean over ranks is the global loss, trains as in one process.

    Returns:
        The (G * B, ...) tensor in rank order, equal on all ranks, and the index of this rank's first row.
    """
    if not is_active():
        return x, 0
    gathered = _Gather.apply(x)
    assert isinstance(gathered, Tensor)
    return gathered, rank() * x.shape[0]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        return gather(x)[0]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        total = grad_outputs[0].contiguous().clone()
        dist.all_reduce(total)  # not reduce_scatter: gloo has none
        return total[rank() * ctx.rows : (rank() + 1) * ctx.rows]
