"""A sample is a pure function of seed, epoch, row and copy; workers and readers do not change it."""

import numpy as np
import pytest
import torch

from support.readers import needs_torchcodec
from support.runs import vito, vspp
from vssl import VideoDataModule
from vssl.data.dataset import VideoDataset, evaluation_loader, to_float
from vssl.data.manifest import Manifest
from vssl.errors import UserError
from vssl.types import Key
from vssl.views import Recipe, UniformClips, View, center


def leaves(batch):
    """Every tensor of a batch, by name."""
    for field, value in batch._asdict().items():
        if isinstance(value, torch.Tensor):
            yield field, value
        for name, part in value.items() if isinstance(value, dict) else ():
            if isinstance(part, dict):
                yield from ((f"{field}.{name}.{key}", tensor) for key, tensor in part.items())
            else:
                yield f"{field}.{name}", part


def same(a, b):
    a, b = dict(leaves(a)), dict(leaves(b))
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def module(manifest, method, **settings):
    return VideoDataModule(str(manifest), recipe=method.recipe, **{"batch_size": 8, "num_workers": 0, **settings})


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # four workers on two cores are the point
@pytest.mark.parametrize("build", [vito, vspp])
def test_workers_do_not_change_the_batches(build, toy_manifest):
    epochs = []
    for workers in (0, 2, 4):
        data = module(toy_manifest, build(), num_workers=workers)
        epochs.append(list(data.train_dataloader()))
    assert len(epochs[0]) == 3
    for other in epochs[1:]:
        assert all(same(a, b) for a, b in zip(epochs[0], other, strict=True))
    changed = list(module(toy_manifest, build(), seed=1).train_dataloader())
    assert not any(same(a, b) for a, b in zip(epochs[0], changed, strict=True))


@pytest.mark.real
@needs_torchcodec
def test_readers_do_not_change_the_batches(real_ucf):
    batches = []
    for reader in ("pyav", "torchcodec"):
        data = module(real_ucf, vspp(), reader=reader)
        assert data.backend == reader
        batches.append(list(data.train_dataloader()))
    assert all(same(a, b) for a, b in zip(*batches, strict=True))


def test_a_sample_depends_on_its_key_alone(toy_manifest):
    data = module(toy_manifest, vito())
    dataset = data.train_dataloader().dataset
    key = Key(epoch=2, row=int(data.rows[3]), copy=0, position=5)
    sample = dataset[key]
    torch.manual_seed(99)
    dataset[key._replace(row=int(data.rows[0]))]
    assert same(sample, dataset[key])
    assert same(sample, dataset[key._replace(position=17)])
    for other in (key._replace(epoch=3), key._replace(copy=1)):
        assert not same(sample, dataset[other])


def test_only_the_label_column_changes_the_label(toy_manifest):
    by_motion = module(toy_manifest, vito(), label="motion")
    by_shape = module(toy_manifest, vito(), label="shape")
    assert by_motion.class_names != by_shape.class_names
    a, b = (next(iter(d.train_dataloader())) for d in (by_motion, by_shape))
    assert not torch.equal(a.label, b.label)
    assert torch.equal(a.views["frames"], b.views["frames"])


def test_the_partial_batch_is_dropped_and_said(toy_manifest):
    data = module(toy_manifest, vito(), batch_size=7)
    assert data.batches_per_epoch == 3
    assert len(list(data.train_dataloader())) == 3
    assert "3 batches of 7; 3 samples of an epoch dropped" in data.summary()
    assert "reader:" in data.summary()


def test_what_was_seen_is_recorded(toy_manifest):
    train, everything = module(toy_manifest, vito()), module(toy_manifest, vito(), subset="all")
    assert train.seen["num_videos"] == 24
    assert len(train.seen["groups"]) == 24
    assert everything.seen["num_videos"] > 40
    assert train.seen["rows"] != everything.seen["rows"]
    assert set(train.seen["groups"].tolist()) < set(everything.seen["groups"].tolist())


def test_batches_larger_than_an_epoch_are_refused(toy_manifest):
    with pytest.raises(
        UserError, match=r"data\.batch_size=100: an epoch has only 24 samples .* Lower data\.batch_size"
    ):
        module(toy_manifest, vito(), batch_size=100)


def test_evaluation_lists_what_it_cannot_read(toy_manifest):
    manifest = Manifest.load(toy_manifest)
    rows = manifest.rows(1, "test")[:5]
    broken = manifest.file(int(rows[2]))
    whole = broken.read_bytes()
    recipe = Recipe(UniformClips(clips=2, frames=4), {"clips": View((center(),), 16, (0, 0, 0), (1, 1, 1))})
    try:
        broken.write_bytes(whole[: len(whole) // 3])
        answers = list(evaluation_loader(manifest, rows, recipe=recipe, batch_size=2))
    finally:
        broken.write_bytes(whole)
    failures = [failure for _, failed in answers for failure in failed]
    read = [row for batch, _ in answers if batch is not None for row in batch.row.tolist()]
    assert [f.path for f in failures] == [manifest.name(int(rows[2]))]
    assert failures[0].reason
    assert read == [int(r) for r in np.delete(rows, 2)]  # nothing took its place


def test_evaluation_is_deterministic(toy_manifest):
    manifest = Manifest.load(toy_manifest)
    recipe = Recipe(UniformClips(clips=2, frames=4), {"clips": View((center(),), 16, (0, 0, 0), (1, 1, 1))})
    settings = {"recipe": recipe, "batch_size": 4}
    rows = manifest.rows(1, "test")[:8]
    one = [batch.views["clips"] for batch, _ in evaluation_loader(manifest, rows, **settings)]
    two = [batch.views["clips"] for batch, _ in evaluation_loader(manifest, rows, num_workers=2, **settings)]
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    x = to_float(one[0], (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    torch.testing.assert_close(x, (one[0].float() / 255 - 0.5) / 0.25)


def test_dataset_needs_no_trainer(toy_manifest):
    manifest = Manifest.load(toy_manifest)
    labels, names = manifest.labels("speed")
    dataset = VideoDataset(manifest, recipe=vspp().recipe, labels=labels, seed=0)
    sample = dataset[Key(0, 0, 0, 0)]
    assert sample.views["clips"].shape == (1, 8, 3, 24, 24)
    assert names[int(sample.label)] in ("slow", "medium", "fast")
