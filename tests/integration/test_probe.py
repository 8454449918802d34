"""The monitors must not move the needle: weights with and without them are bit-identical."""

import io

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from support.runs import moclr, trained, vito, vspp
from vssl.pictures import Pictures
from vssl.probe import OnlineKnn


@pytest.mark.parametrize("clip", [None, 0.1])
def test_weights_with_and_without_the_online_knn_are_identical(clip, toy_manifest):
    settings = {"steps": 7, "gradient_clip_val": clip}
    without = trained(vito, toy_manifest, **settings)
    probed = trained(vito, toy_manifest, callbacks=[OnlineKnn(k=4, every=1)], **settings)
    assert all(np.array_equal(without[k], probed[k]) for k in without)


def test_it_reads_classes_and_leaves_out_a_querys_own_group():
    probe = OnlineKnn(k=2)
    features = torch.eye(4)[[0, 0, 1, 1]]
    labels, groups = torch.tensor([0, 0, 1, 1]), torch.tensor([10, 11, 12, 13])
    probe._bank = [(features, labels, groups)]
    query = torch.eye(4)[[0, 1]]
    assert probe._accuracy(query, torch.tensor([0, 1]), torch.tensor([50, 51])) == 1.0
    # the query is in the bank itself, and so is its group's other video: only the wrong class is left
    assert probe._accuracy(query[:1], torch.tensor([0]), torch.tensor([10])) == 1.0
    probe._bank = [(features, labels, torch.tensor([10, 10, 12, 13]))]
    assert probe._accuracy(query[:1], torch.tensor([0]), torch.tensor([10])) == 0.0


def shown(folder):
    """Tag -> steps and the pictures themselves, as TensorBoard stores them."""
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    images = {tag: events.Images(tag) for tag in events.Tags()["images"]}
    opened = lambda e: np.array(Image.open(io.BytesIO(e.encoded_image_string)))
    pixels = lambda e: torch.from_numpy(opened(e)).permute(2, 0, 1)
    return {tag: ([e.step for e in found], [pixels(e) for e in found]) for tag, found in images.items()}


@pytest.mark.parametrize("build", [vito, moclr, vspp])
def test_weights_with_and_without_the_pictures_are_identical(build, toy_manifest, tmp_path):
    without = trained(build, toy_manifest, steps=7)
    board = TensorBoardLogger(tmp_path, name="", version="board")
    looked = trained(build, toy_manifest, steps=7, logger=board, callbacks=[Pictures(videos=3, every=3)])
    assert all(np.array_equal(without[k], looked[k]) for k in without)
    found = shown(tmp_path / "board")
    own = {vito: {"views/frames", "attention"}, moclr: {"views/frames"}, vspp: {"views/clips"}}
    assert set(found) == own[build] | {"shots"}  # the toy manifest has the cuts
    assert found["shots"][1][0].shape == (3, 3 * (64 + 10), 24 * 64)
    assert found[next(name for name in found if name.startswith("views/"))][0] == [0]
    if build is vito:
        steps, sheets = found["attention"]
        assert steps == [0, 3, 6, 7]
        side, columns = 24 + 2, 3 * (1 + 2)  # three views; a frame and two scales each
        assert all(sheet.shape == (3, 3 * side + 2, columns * side + 2) for sheet in sheets)
        cell = lambda sheet, c: sheet[:, 2:26, 2 + c * side : 26 + c * side].int()
        first, last = sheets[0], sheets[-1]
        assert (cell(first, 0) - cell(first, 1)).abs().max() <= 1  # training starts at average pooling: all is lit
        assert torch.equal(cell(first, 0), cell(last, 0))  # the same frame at every look
        assert (cell(last, 0) - cell(last, 1)).max() > 1
        views = found["views/frames"][1][0]
        assert torch.equal(cell(views, 0), cell(first, 0))
        assert torch.equal(cell(views, 1), cell(first, 3))


def test_looking_draws_no_random_number_and_leaves_every_mode(toy_manifest, tmp_path):
    seen = []

    def nosy():
        method = vito()
        method.backbone.stem[1].eval()  # a module with a mode of its own

        def pictures(batch):
            seen.append((method.training, torch.is_grad_enabled(), len(batch.row), torch.rand(()).item()))
            return {"noise": torch.rand(2, 3, 3, 4, 4)}

        method.pictures = pictures
        return method

    class Around(Pictures):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            state, modes = torch.get_rng_state(), [m.training for m in pl_module.modules()]
            assert not all(modes)
            assert any(modes)
            super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
            assert torch.equal(torch.get_rng_state(), state)
            assert [m.training for m in pl_module.modules()] == modes

    board = TensorBoardLogger(tmp_path, name="", version="board")
    trained(nosy, toy_manifest, steps=3, logger=board, callbacks=[Around(videos=2, every=1)])
    assert [call[:3] for call in seen] == [(False, False, 2)] * 4
    silent = len(seen)
    trained(nosy, toy_manifest, steps=3, callbacks=[Around(every=1)])
    assert len(seen) == silent  # without TensorBoard nothing is computed
