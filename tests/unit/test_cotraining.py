"""Labelled images beside the videos: draws, subsets, refusals; VIVI check 10 and its failing control."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.utils.data import default_collate

from support.runs import vivi
from vssl import VideoDataModule
from vssl.backbones.image import ImageBackbone
from vssl.backbones.tiny import TinyImage
from vssl.data.images import ImageList, LabelledImages
from vssl.data.reader import ReadError
from vssl.data.toy_factors import SHAPES, factors
from vssl.data.toy_images import generate_images
from vssl.data.toy_render import render
from vssl.errors import UserError
from vssl.methods.vivi import IMAGE_AUGMENT, CoTraining
from vssl.types import Batch, Key
from vssl.views import View

VIEW = View((IMAGE_AUGMENT,), size=16, mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture
def folder(tmp_path):
    """Three classes of 10, 10 and 3 images; the value of a picture says which it is."""
    for name, count in (("cat", 10), ("dog", 10), ("owl", 3)):
        (tmp_path / name / "more").mkdir(parents=True)
        for i in range(count):
            level = 10 * i + {"cat": 0, "dog": 100, "owl": 200}[name]
            picture = Image.fromarray(np.full((20, 30, 3), level, np.uint8))
            picture.save(tmp_path / name / "more" / f"{i:02d}.png" if i % 2 else tmp_path / name / f"{i:02d}.JPEG")
        (tmp_path / name / "readme.txt").write_text("no image")
    return tmp_path


def test_images_and_labels_belong_together(folder):
    images = ImageList(LabelledImages(str(folder)))
    assert images.classes == ["cat", "dog", "owl"]
    assert len(images) == 23
    drawn = images.draw(Key(0, 5, 0, 0), 23, view=VIEW, seed=0)
    assert drawn["pixels"].shape == (23, 3, 16, 16)
    assert drawn["pixels"].dtype == torch.uint8
    assert drawn["label"].bincount().tolist() == [10, 10, 3]
    level = drawn["pixels"].float().mean((1, 2, 3))
    assert torch.equal(torch.bucketize(level, torch.tensor([95.0, 195.0])), drawn["label"])


def test_an_epoch_goes_through_the_images_once_before_it_repeats(folder):
    images = ImageList(LabelledImages(str(folder)))
    places = [p for position in range(23) for p in images.places(Key(0, 0, 0, position), 2, seed=0)]
    assert sorted(places[:23]) == sorted(places[23:]) == list(range(23))
    assert places[:23] != places[23:]
    other_epoch = [p for position in range(23) for p in images.places(Key(1, 0, 0, position), 2, seed=0)]
    other_seed = [p for position in range(23) for p in images.places(Key(0, 0, 0, position), 2, seed=1)]
    assert places != other_epoch
    assert places != other_seed
    # where a video lies in the epoch decides, not which video or which process: ranks and resumes share one order
    assert images.places(Key(0, 7, 3, 4), 2, seed=0) == places[8:10]


def test_a_draw_is_a_pure_function_of_seed_and_key(folder):
    first, second = (ImageList(LabelledImages(str(folder))) for _ in range(2))
    key = Key(2, 3, 0, 4)
    one, two = (images.draw(key, 4, view=VIEW, seed=9) for images in (first, second))
    assert torch.equal(one["pixels"], two["pixels"])
    assert torch.equal(one["label"], two["label"])


def test_a_subset_takes_its_share_of_every_class(folder):
    tenth = ImageList(LabelledImages(str(folder), fraction=0.3))
    assert np.bincount(tenth.labels).tolist() == [3, 3, 1]
    same, other = (ImageList(LabelledImages(str(folder), fraction=0.3, seed=s)) for s in (0, 1))
    assert tenth.digest == same.digest != other.digest
    assert ImageList(LabelledImages(str(folder))).digest not in (same.digest, other.digest)


def module(manifest, method, **settings):
    return VideoDataModule(str(manifest), recipe=method.recipe, batch_size=4, num_workers=0, **settings)


def co_method(backbone=None, classes=3, **settings):
    return vivi(backbone=backbone, co=CoTraining(images=2, classes=classes), **settings)


def test_mistakes_are_refused(folder, toy_manifest, tmp_path):
    given = LabelledImages(str(folder))
    with pytest.raises(UserError, match=r"data\.images: the method takes 2 labelled images per video\. Set"):
        module(toy_manifest, co_method())
    with pytest.raises(UserError, match="this method takes no labelled images"):
        module(toy_manifest, vivi(), images=given)
    with pytest.raises(UserError, match=r"has 3 classes, the method's classifier 7\. Set model\.co\.classes to 3"):
        module(toy_manifest, co_method(classes=7), images=given)
    with pytest.raises(UserError, match="no such folder"):
        ImageList(LabelledImages(str(tmp_path / "none")))
    with pytest.raises(UserError, match=r"fraction=0\.0"):
        LabelledImages(str(folder), fraction=0.0)
    (folder / "owl" / "00.JPEG").write_bytes(b"no image")
    images = ImageList(given)
    with pytest.raises(ReadError, match=r"00\.JPEG: no image that"):
        images.draw(Key(0, 0, 0, 0), 23, view=VIEW, seed=0)


def test_the_supervised_term_trains_the_same_encoder(folder, toy_manifest):
    torch.manual_seed(0)
    method = co_method()
    data = module(toy_manifest, method, images=LabelledImages(str(folder)))
    assert "2 of 23 labelled images with each" in data.summary()
    assert data.seen["num_images"] == 23
    dataset = data.train_dataloader().dataset
    batch = default_collate([dataset[Key(0, int(row), 0, i)] for i, row in enumerate(data.rows[:4])])
    assert batch.images["pixels"].shape == (4, 2, 3, 24, 24)
    out = method.step(batch)
    logs = out.logs
    expected = logs["frame_loss"] + 0.5 * logs["video_loss"] + 1.0 * logs["image_loss"]
    assert out.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    out.loss.backward()
    assert all(p.grad is not None for p in method.parameters())
    assert method.classifier.weight.grad.abs().max() > 0


def logits_of_fixed_images(method, video_seed):
    """What the classifier says of fixed images, in train mode, beside one batch of videos or another."""
    seen = []
    hook = method.classifier.register_forward_hook(lambda *given: seen.append(given[-1]))
    sampler, size = method.recipe.sampler, method.recipe.views["shots"].size
    fixed, varied = torch.Generator().manual_seed(7), torch.Generator().manual_seed(video_seed)
    pixels = torch.randint(256, (2, 2, 3, size, size), generator=fixed, dtype=torch.uint8)
    videos = torch.randint(
        1 + 60 * video_seed, (2, sampler.shots, sampler.frames, 3, size, size), generator=varied, dtype=torch.uint8
    )
    none = torch.zeros(2).long()
    images = {"pixels": pixels, "label": torch.zeros(2, 2).long()}
    batch = Batch({"shots": videos}, {"shots": {}}, {"detected": torch.ones(2)}, images, none, none)
    method.train()
    method.step(batch)
    hook.remove()
    return seen[0].detach()


def test_images_are_isolated_from_the_videos_by_group_norm_and_not_by_batch_norm():
    torch.manual_seed(0)
    isolated = co_method(ImageBackbone("resnetv2_50x1_bit", size=32), shots=2)
    one, two = (logits_of_fixed_images(isolated, seed) for seed in (1, 4))
    assert (one - two).abs().max().item() <= 1e-5
    mixed = co_method(TinyImage(4, size=24), shots=2)
    one, two = (logits_of_fixed_images(mixed, seed) for seed in (1, 4))
    assert (one - two).abs().max().item() > 1e-2


def test_group_norm_isolates_the_tiny_encoder_too_and_nothing_is_said(caplog):
    torch.manual_seed(0)
    isolated = co_method(TinyImage(4, size=24, norm="group"), shots=2)
    assert not caplog.records
    one, two = (logits_of_fixed_images(isolated, seed) for seed in (1, 4))
    assert (one - two).abs().max().item() <= 1e-5
    co_method(TinyImage(4, size=24), shots=2)
    assert "batch norm mixes statistics" in caplog.text


def test_autoaugment_of_images_is_a_choice(folder):
    images, key = ImageList(LabelledImages(str(folder))), Key(2, 3, 0, 4)
    changed = VIEW._replace(augment=(replace(IMAGE_AUGMENT, autoaugment=True),))
    plain, one, two = (images.draw(key, 8, view=v, seed=9)["pixels"] for v in (VIEW, changed, changed))
    assert torch.equal(one, two)
    assert not torch.equal(one, plain)
    for chosen in (False, True):
        method = vivi(co=CoTraining(images=2, classes=3, autoaugment=chosen))
        assert method.recipe.image_view.augment[0].autoaugment is chosen


@pytest.fixture
def cifar(tmp_path):
    """The files of a CIFAR-10 of 60 images, as torchvision wants them; the red value of an image is its number."""
    base = tmp_path / "cifar-10-batches-py"
    base.mkdir()
    data = np.zeros((10, 3072), np.uint8)
    for part in range(6):
        data[:, :1024] = np.arange(10)[:, None] + 10 * part
        name = f"data_batch_{part + 1}" if part < 5 else "test_batch"
        (base / name).write_bytes(pickle.dumps({"data": data, "labels": list(range(10))}))
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class{i}" for i in range(10)]}))
    return tmp_path


def test_images_of_a_torchvision_data_set(cifar, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda _: True)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    source = {"class_path": "torchvision.datasets.CIFAR10", "init_args": {"root": str(cifar)}}
    images = ImageList(LabelledImages(source=source))
    assert images.classes == [f"class{i}" for i in range(10)]
    assert len(images) == 50
    drawn = images.draw(Key(0, 5, 0, 0), 50, view=VIEW, seed=0)
    red = drawn["pixels"][:, 0].amax((1, 2))
    assert sorted(red.tolist()) == list(range(50))
    assert torch.equal(red % 10, drawn["label"])
    tenth, same = (ImageList(LabelledImages(source=source, fraction=0.2)) for _ in range(2))
    assert np.bincount(tenth.labels).tolist() == [1] * 10
    assert tenth.digest == same.digest != images.digest
    other = ImageList(LabelledImages(source=source, fraction=0.2, seed=1))
    assert other.digest != tenth.digest


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"class_path": "torchvision.datasets.CIFAR10", "init_args": {"root": "none"}}, "its files are not in none"),
        (
            {"class_path": "torchvision.datasets.CIFAR10", "init_args": {"root": "none", "download": True}},
            "nothing is ever downloaded",
        ),
        ({"class_path": "torchvision.datasets.CIFAR10", "init_args": {"folder": "none"}}, "does not take"),
        ({"class_path": "torchvision.datasets.Nothing"}, "names no data set of torchvision"),
        ({"class_path": "os.system", "init_args": {"command": "true"}}, "names no data set of torchvision"),
        ({"class_path": "torchvision.datasets.FakeData", "init_args": {"size": 3}}, "no list of one class per image"),
    ],
)
def test_mistakes_with_a_torchvision_data_set_are_refused(source, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        ImageList(LabelledImages(source=source))
    assert not list(tmp_path.iterdir())  # nothing was fetched


def test_one_source_is_given():
    for given in ({}, {"root": "a", "source": {}}):
        with pytest.raises(UserError, match="takes one of root and source"):
            LabelledImages(**given)


def test_the_toy_worlds_images_are_labelled_stills_of_other_videos(tmp_path):
    found = generate_images(tmp_path, 24, seed=0)
    images = ImageList(LabelledImages(str(found)))
    assert images.classes == sorted(SHAPES)
    assert np.bincount(images.labels).tolist() == [3] * 8
    names = [Path(images.source.name(i)) for i in range(24)]
    assert {int(name.stem) % 5 for name in names} == {0, 2, 4}  # train alone
    with Image.open(found / names[0]) as picture:
        still = np.array(picture)
    world = render(int(names[0].stem), seed=0, nuisance="redrawn")
    assert still.shape == world.shape[1:]
    assert not (world == still).all((1, 2, 3)).any()
    for name in names:
        assert factors(int(name.stem), seed=0, nuisance="redrawn").shape == SHAPES.index(name.parts[0])
    before = {path: path.stat().st_mtime_ns for path in found.rglob("*.png")}
    generate_images(tmp_path, 26, seed=0)
    after = {path: path.stat().st_mtime_ns for path in found.rglob("*.png")}
    assert before.items() < after.items()
    assert len(after) == 26


def test_filters_are_standardised():
    """The weights that the convolution of the co-training encoder applies: mean 0, variance 1 per output filter."""
    net = ImageBackbone("resnetv2_50x1_bit", size=32)
    convs = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convs) == 53
    for conv in (convs[0], convs[5], convs[-1]):
        out, inputs, height, width = conv.weight.shape
        torch.nn.init.normal_(conv.weight, mean=0.3, std=0.2)
        # an impulse at each input place in turn reads the applied filter back
        impulses = torch.eye(inputs * height * width).view(-1, inputs, height, width)
        padding, conv.padding, conv.stride = conv.padding, (0, 0), (1, 1)
        with torch.no_grad():
            applied = conv(impulses).view(-1, out).T
        conv.padding = padding
        assert applied.mean(-1).abs().max().item() <= 1e-6
        torch.testing.assert_close(applied.var(-1, unbiased=False), torch.ones(out), rtol=0, atol=1e-4)
    plain = torch.nn.Conv2d(8, 4, 3)
    assert plain.weight.mean((1, 2, 3)).abs().max() > 1e-4
