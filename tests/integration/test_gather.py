"""Gathering with gradient over two gloo processes equals one process; without the gradient it does not."""

from unittest import mock

import numpy as np
import pytest
import torch

import vssl.methods.critics
import vssl.methods.vivi
from support.ranks import run_ranks
from support.runs import random_shots, vivi, vivi_ex2, vivi_rot, vivi_soft, without_batch_statistics
from vssl.distributed import from_first, gather, gather_with_gradient, shared_mistakes
from vssl.errors import UserError
from vssl.losses import semihard_triplet, shot_prediction

ROWS, LABELS = 8, torch.arange(4).repeat_interleave(2)


def inputs():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(ROWS, 5, generator=generator, dtype=torch.float64)
    weight = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    return x, weight.requires_grad_()


def triplet(x, weight, collect):
    """The same loss on every rank."""
    z, _ = collect(x @ weight)
    return semihard_triplet(z, LABELS, 0.5)


def prediction(x, weight, collect):
    """Every rank's own rows against everybody's columns."""
    targets, offset = collect((x * x) @ weight)
    return shot_prediction((x @ weight) @ targets.T, torch.arange(len(x)) + offset)


def gradient(loss, x, weight, collect):
    loss(x, weight, collect).backward()
    return weight.grad


def _rank(rank, world, loss, collect):
    torch.distributed.init_process_group("gloo")
    x, weight = inputs()
    share = ROWS // world
    grad = gradient(loss, x[rank * share : (rank + 1) * share], weight, collect)
    torch.distributed.all_reduce(grad)  # what DDP does
    torch.distributed.destroy_process_group()
    return (grad / world).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("loss", [triplet, prediction])
def test_two_processes_equal_one(loss):
    alone = gradient(loss, *inputs(), gather_with_gradient).numpy()
    first, second = run_ranks(_rank, loss, gather_with_gradient)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, alone, rtol=1e-10, atol=1e-12)
    assert np.abs(alone).max() > 1e-2


@pytest.mark.slow
def test_without_the_gradient_they_differ():
    alone = gradient(prediction, *inputs(), gather_with_gradient).numpy()
    cut, _ = run_ranks(_rank, prediction, gather)
    assert np.abs(cut - alone).max() > 1e-2


def vivi_gradient(build, rows, gathers):
    """Gradient of VIVI in float64 on some rows of a batch of 8 videos."""
    torch.manual_seed(0)
    method = without_batch_statistics(build()).double()
    batch = random_shots(method, 8)
    batch = batch._replace(views={"shots": batch.views["shots"][rows]}, targets={"detected": torch.ones(8)[rows]})
    collect = gather_with_gradient if gathers else lambda x: (x, 0)
    with (
        mock.patch.object(vssl.methods.vivi, "gather_with_gradient", collect),  # frame level
        mock.patch.object(vssl.methods.critics, "gather_with_gradient", collect),  # video level
        mock.patch.object(torch.Tensor, "float", torch.Tensor.double),
    ):
        method.step(batch).loss.backward()
    return torch.cat([p.grad.flatten() for p in method.parameters()])


def _vivi_rank(rank, world, build, gathers):
    torch.distributed.init_process_group("gloo")
    grad = vivi_gradient(build, slice(rank * 8 // world, (rank + 1) * 8 // world), gathers)
    torch.distributed.all_reduce(grad)  # what DDP does
    torch.distributed.destroy_process_group()
    return (grad / world).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("build", [vivi, vivi_soft, vivi_ex2, vivi_rot])
def test_vivis_gradient_on_two_processes_equals_one(build):
    alone = vivi_gradient(build, slice(None), True).numpy()
    first, second = run_ranks(_vivi_rank, build, True)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, alone, rtol=1e-8, atol=1e-10)
    assert np.abs(alone).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("build", [vivi, vivi_rot])
def test_vivis_gradient_without_the_gather_differs(build):
    alone = vivi_gradient(build, slice(None), True).numpy()
    assert np.abs(run_ranks(_vivi_rank, build, False)[0] - alone).max() > 1e-4


def test_alone_it_is_the_identity():
    x = torch.randn(3, 2, requires_grad=True)
    gathered, offset = gather_with_gradient(x)
    assert gathered is x
    assert offset == 0


def _mistaken(rank, _):
    torch.distributed.init_process_group("gloo")
    told = ""
    try:
        with shared_mistakes():
            if rank == 1:
                raise UserError("split 9", "there is none")
    except UserError as error:
        told = str(error)
    agreed = from_first([rank])
    with shared_mistakes():
        pass
    torch.distributed.destroy_process_group()
    return told, agreed


@pytest.mark.slow
def test_a_mistake_that_one_process_meets_is_told_on_all():
    assert run_ranks(_mistaken) == [("split 9: there is none.", [0])] * 2


def test_alone_a_mistake_is_raised_as_it_is():
    with pytest.raises(UserError, match="split 9"), shared_mistakes():
        raise UserError("split 9", "there is none")
    assert from_first(3) == 3
