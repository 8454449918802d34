"""Order and sharding: disjoint shards, the same global step for any number of ranks, exact skipping."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vssl.data.sampler import EpochSampler

ROWS = np.array([3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377])


def keys(epoch=0, rank=0, world=1, skip=0, copies=1, batch=4, start=0):
    sampler = EpochSampler(
        ROWS, batch_size=batch, copies=copies, seed=7, epoch=start, skip=skip, rank=rank, world_size=world
    )
    sampler.set_epoch(epoch)
    return list(sampler)


@given(st.sampled_from([(4, 1), (4, 2), (4, 4), (6, 3)]), st.integers(0, 5), st.integers(1, 3))
def test_ranks_share_the_single_process_order(sizes, epoch, copies):
    batch, world = sizes
    whole = keys(epoch, copies=copies, batch=batch)
    assert len(whole) == len(ROWS) * copies // batch * batch  # the partial batch is dropped
    share = batch // world
    shards = [keys(epoch, rank, world, copies=copies, batch=batch) for rank in range(world)]
    for step in range(len(whole) // batch):
        parts = [key for shard in shards for key in shard[step * share : (step + 1) * share]]
        assert parts == whole[step * batch : (step + 1) * batch]


def test_an_epoch_lists_every_copy_of_every_row_once():
    whole = keys(copies=3, batch=3)
    assert len({(key.row, key.copy) for key in whole}) == len(whole) == 33
    assert [key.position for key in whole] == list(range(33))


def test_epochs_differ_and_repeat():
    assert keys(0) == keys(0)
    assert [k.row for k in keys(0)] != [k.row for k in keys(1)]
    assert {k.epoch for k in keys(5)} == {5}


def test_skipping_drops_batches_of_one_epoch_only():
    assert keys(2, skip=1, start=2) == keys(2)[4:]
    assert keys(3, skip=1, start=2) == keys(3)
