"""Protocols that train on clips, on a small encoded toy world and tiny networks."""

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torchvision.transforms.v2.functional import resize

from support.checkpoints import save
from vssl.backbones.tiny import TinyImage, TinyVideo
from vssl.cli import main
from vssl.data.manifest import Manifest
from vssl.data.reader import read
from vssl.errors import UserError
from vssl.evaluate import run
from vssl.evaluate.clips import norms, train
from vssl.evaluate.clips.callbacks import Selection
from vssl.evaluate.clips.data import rows_of
from vssl.evaluate.clips.network import AttentiveHead, Network
from vssl.evaluate.clips.predict import predict
from vssl.evaluate.clips.trainer import trainer_of
from vssl.evaluate.encoder import Encoder
from vssl.evaluate.passes import Settings
from vssl.evaluate.protocol import fields_that_differ, load
from vssl.evaluate.result import find, of_run

SMALL = {
    "views__clips": 2,
    "optimisation__epochs": 2,
    "optimisation__clips_per_video": 1,
    "optimisation__batch": 8,
    "optimisation__lr": 0.01,
}


def tiny():
    torch.manual_seed(0)
    return TinyVideo(4, light=True, size=24, frames=4, stride=2)


def encoder(folder, *, backbone=None, kind="trained", seed=None):
    backbone = backbone or tiny()
    checkpoint = {"sha": "ab", "step": 1, "epoch": 0, "file": "last.ckpt"} if kind == "trained" else {}
    return Encoder(
        kind=kind,
        name=kind,
        run="r0",
        folder=folder / "r0" / "results",
        backbone=backbone,
        card=backbone.input,
        spec=backbone.spec(),
        checkpoint=checkpoint,
        seed=seed,
        splits=[1],
    )


def small(name, **changes):
    return load(name).override(**SMALL | changes)


def scored(given, manifest, protocol, **settings):
    jobs = [run.Job(protocol, [given])]
    (result,) = run.evaluate(jobs, manifest=manifest, labels=["motion"], settings=Settings(**settings))
    return result


@pytest.fixture(scope="module")
def world(toy_manifest):
    return Manifest.load(toy_manifest)


def weights(result, folder):
    """State of the trained network."""
    (file,) = (folder / "r0" / "training").glob(f"{result.key}/last.ckpt")
    state = torch.load(file, weights_only=True)["state_dict"]
    return {name.removeprefix("net."): value for name, value in state.items()}


def moved(before, after):
    """Names of parameters and buffers of the backbone that are not bit-identical."""
    return {name for name, value in before.items() if not torch.equal(value, after[f"backbone.{name}"])}


def test_the_attentive_probe_leaves_the_encoder_bit_identical(world, tmp_path):
    given = encoder(tmp_path)
    before = copy.deepcopy(given.backbone.state_dict())
    frozen = scored(given, world, small("attentive-v1"))
    after = weights(frozen, tmp_path)
    assert not moved(before, after)
    assert after["head.query"].abs().max() > 0
    # control: the same head, the encoder trained with it; and its norms' statistics alone, left in train mode
    trained = scored(given, world, small("attentive-v1", frozen__trainable="all", frozen__batch_norm="train"))
    assert {name for name in before if name.endswith("weight")} <= moved(before, weights(trained, tmp_path))
    assert any(name.endswith("running_mean") for name in moved(before, weights(trained, tmp_path)))
    assert not moved(
        {k: v for k, v in before.items()}, {f"backbone.{k}": v for k, v in given.backbone.state_dict().items()}
    )


def test_norms_in_eval_mode_keep_their_statistics_while_weights_train(world, tmp_path):
    given = encoder(tmp_path)
    result = scored(given, world, small("finetune-v1", frozen__batch_norm="eval"))
    changed = moved(given.backbone.state_dict(), weights(result, tmp_path))
    assert changed
    assert not [name for name in changed if "running" in name]


def test_finetuning_gives_a_result_as_other_readouts_do(world, tmp_path):
    result = scored(encoder(tmp_path), world, small("finetune-v1"))
    assert find(tmp_path / "r0" / "results", result.key) == result
    assert list(result.metrics) == ["top1", "clip top1"]
    assert result.num_scored == result.num_listed == len(world.rows(1, "test"))
    assert result.details["steps"] == 6  # 24 train videos, batches of 8, two epochs
    assert result.details["clips_seen"] == 48
    assert result.protocol["name"].startswith("finetune-v1+batch=8+clips_per_video=1+epochs=2+lr=0.01+clips=2")
    assert scored(encoder(tmp_path), world, small("finetune-v1")) == result  # read, not trained again
    other = scored(encoder(tmp_path / "b"), world, small("finetune-v1"))
    assert other.predictions == result.predictions  # the same training, and bit for bit
    assert all(torch.equal(v, weights(other, tmp_path / "b")[k]) for k, v in weights(result, tmp_path).items())
    seed = scored(encoder(tmp_path / "b"), world, small("finetune-v1", optimisation__seed=1))
    assert seed.key != result.key
    assert not torch.equal(weights(seed, tmp_path / "b")["head.1.weight"], weights(result, tmp_path)["head.1.weight"])


@pytest.mark.parametrize("average", ["softmax", "logits"])
def test_the_answer_is_the_mean_over_clips_and_crops(world, average):
    """By plain loops: 2 clips x 3 crops of three quarters of the frame, one mean."""
    protocol = small("finetune-v1", views__crop_fraction=0.75, views__average=average)
    net = Network(tiny(), protocol, 4).eval()
    nn.init.normal_(net.head[1].weight, std=5.0)
    rows = world.rows(1, "test")[:6]
    given = {"card": net.backbone.input, "manifest": world, "settings": Settings(), "device": torch.device("cpu")}
    votes = predict(net, rows, protocol=protocol, **given)
    assert votes.rows.tolist() == rows.tolist()
    assert votes.views.shape == (6, 6)
    for row, found in zip(rows, votes.values, strict=True):
        views = [_view(world.video(row), start, left) for start in (0, 1) for left in (0, 1, 2)]
        with torch.no_grad():
            logits = torch.cat([net(view) for view in views])
        answers = logits.softmax(-1) if average == "softmax" else logits
        scale = logits.std()
        assert torch.allclose(torch.from_numpy(found), answers.mean(0), atol=0.01 * scale)
        # negative control: middle crops alone, or the other mean
        assert not torch.allclose(torch.from_numpy(found), answers[[1, 4]].mean(0), atol=0.01 * scale)
        other = logits if average == "softmax" else logits.softmax(-1)
        assert not torch.allclose(torch.from_numpy(found), other.mean(0), atol=0.01 * scale)


def _view(video, late, place):
    """A clip of 4 frames, every second, at the start or the end; a crop at the left, in the middle or at the right."""
    start = late * (video.num_frames - 7)
    frames = read(video, torch.arange(start, start + 7, 2), "pyav")
    side = round(video.height * 0.75)
    top, left = (video.height - side) // 2, round(place / 2 * (video.width - side))
    piece = resize(frames[:, :, top : top + side, left : left + side], [24, 24], antialias=True)
    return ((piece.float() / 255 - 0.5) / 0.25)[None]


def test_a_random_control_of_the_probe_is_calibrated_and_seeds_differ(world, tmp_path):
    control = encoder(tmp_path, kind="random", seed=3)
    assert control.backbone.stages[0][0][1].running_mean.abs().max() == 0
    scored(control, world, small("attentive-v1"))
    assert control.backbone.stages[0][0][1].running_mean.abs().max() > 0


def test_a_frame_encoder_is_finetuned_on_frames(world, tmp_path):
    result = scored(encoder(tmp_path, backbone=TinyImage(4, size=24)), world, small("finetune-v1"))
    assert result.card["frames"] == 1


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_killed_training_continues_to_the_same_network(world, tmp_path, monkeypatch, epoch):
    whole = scored(encoder(tmp_path / "whole"), world, small("finetune-v1", optimisation__epochs=3))
    step = train.Training.training_step
    stop = 3 * (epoch + 1) + 1

    def killed(self, batch, batch_idx):
        if self.global_step == stop:
            raise RuntimeError("killed")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(train.Training, "training_step", killed)
    given, protocol = encoder(tmp_path / "broken"), small("finetune-v1", optimisation__epochs=3)
    with pytest.raises(RuntimeError, match="killed"):
        scored(given, world, protocol)
    monkeypatch.setattr(train.Training, "training_step", step)
    steps = []
    monkeypatch.setattr(train.Training, "on_train_batch_end", lambda self, *_: steps.append(self.global_step))
    again = scored(given, world, protocol)
    assert steps[0] == 3 * (epoch + 1) + 1  # from the last whole epoch, not from the beginning
    a, b = weights(whole, tmp_path / "whole"), weights(again, tmp_path / "broken")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert again.predictions == whole.predictions


def test_a_command_killed_while_predicting_does_not_train_again(world, tmp_path, monkeypatch):
    whole = scored(encoder(tmp_path / "whole"), world, small("finetune-v1"))

    def killed(*_, **__):
        raise RuntimeError("killed")

    monkeypatch.setattr(train, "predict", killed)
    with pytest.raises(RuntimeError, match="killed"):
        scored(encoder(tmp_path), world, small("finetune-v1"))
    monkeypatch.setattr(train, "predict", predict)
    monkeypatch.setattr(train.Training, "training_step", killed)
    assert scored(encoder(tmp_path), world, small("finetune-v1")).predictions == whole.predictions
    with pytest.raises(RuntimeError, match="killed"):  # negative control: asked to, it begins anew
        scored(encoder(tmp_path), world, small("finetune-v1"), force=True)


def test_selection_on_the_test_list_takes_its_best_epoch_and_is_stamped(world, tmp_path):
    changes = {"optimisation__epochs": 4, "views__fps": None}
    protocol = load("severe-2022").override(**SMALL | changes | {"input": load("finetune-v1")["input"]})
    result = scored(encoder(tmp_path), world, protocol)
    rows = result.details["validation"]
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert result.metrics["top1"] == max(row["top1"] for row in rows)
    assert result.details["epoch"] == next(row["epoch"] for row in rows if row["top1"] == result.metrics["top1"])
    assert "(selected on test)" in result.protocol["name"]
    assert result.protocol["hard"]["splits.validation"] == "test"
    assert "selected" not in load("finetune-v1").record(result.card)["name"]


def test_selection_on_train_videos_takes_them_aside(world, tmp_path):
    protocol = small("vcop-2019", splits__validation_videos=6, input=load("finetune-v1")["input"])
    result = scored(encoder(tmp_path), world, protocol.override(augment__resize=[32, 32]))
    assert result.details["num_train"] == 18
    losses = [row["loss"] for row in result.details["validation"]]
    assert result.details["epoch"] == int(np.argmin(losses))
    with pytest.raises(UserError, match="takes an unknown number of the 24 train videos of toy-constant-0 aside"):
        scored(encoder(tmp_path), world, small("vcop-2019"))


def broken(toy_manifest, folder, part, place=0):
    """The toy world with one video of a list that the index could read and nobody can any more."""
    shutil.copytree(toy_manifest.parent, folder)
    found = Manifest.load(folder / toy_manifest.name, root=folder)
    row = found.rows(1, part)[place]
    (folder / found.name(row)).write_bytes(b"no video")
    return found, int(row)


@pytest.mark.parametrize("name", ["finetune-v1", "severe-2022"])
def test_an_unread_test_video_is_counted_whatever_the_epoch_is_chosen_on(toy_manifest, tmp_path, name):
    world, row = broken(toy_manifest, tmp_path / "toy", "test")
    changes = {"optimisation__epochs": 1, "input": load("finetune-v1")["input"]}
    result = scored(encoder(tmp_path), world, small(name, **changes))
    assert result.num_listed - result.num_scored == 1
    assert [(f["path"], f["part"]) for f in result.failures] == [(world.name(row), "test")]
    assert result.num_gallery == result.num_gallery_listed


def test_an_unread_video_taken_aside_is_not_counted_as_gallery(toy_manifest, tmp_path, monkeypatch):
    changes = {"splits__validation_videos": 6, "augment__resize": [32, 32], "optimisation__epochs": 1}
    protocol = small("vcop-2019", input=load("finetune-v1")["input"], **changes)
    world = Manifest.load(toy_manifest)
    ids, _ = world.labels("motion")
    given = encoder(tmp_path)
    aside = rows_of(train.Task(given, protocol, 1, "motion", "key"), world, ids).validation
    place = world.rows(1, "train").tolist().index(aside[0])
    world, row = broken(toy_manifest, tmp_path / "toy", "train", place)

    def killed(*_, **__):
        raise RuntimeError("killed")

    monkeypatch.setattr(train, "record", killed)
    with pytest.raises(RuntimeError, match="killed"):
        scored(given, world, protocol)
    monkeypatch.undo()
    result = scored(given, world, protocol)  # what training found is kept with its checkpoint
    assert result.num_gallery_listed - result.num_gallery == 1
    assert [(f["path"], f["part"]) for f in result.failures] == [(world.name(row), "gallery")]
    assert result.num_scored == result.num_listed


def test_the_chosen_epoch():
    """Lowest loss, most right answers; the first of equal ones."""

    def chosen(by, scores):
        selection = Selection(lambda: (0.0, 0.0, []), by, Path("none"))
        selection.load_state_dict({"epochs": [[e, *pair] for e, pair in enumerate(scores)]})
        return selection.best

    scores = [(50.0, 0.9), (60.0, 0.8), (60.0, 0.7)]
    assert chosen("most right answers", scores) == 1
    assert chosen("lowest loss", scores) == 2


def test_the_attentive_head_is_the_formula():
    torch.manual_seed(0)
    head, maps = AttentiveHead(8, 3).eval(), torch.randn(2, 8, 2, 3, 3)
    nn.init.normal_(head.query)
    norm = lambda x: (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    with torch.no_grad():
        t = norm(maps.flatten(2).transpose(1, 2))
        w, b = head.attention.in_proj_weight, head.attention.in_proj_bias
        q, k, v = (x @ w[i : i + 8].T + b[i : i + 8] for i, x in ((0, head.query.expand(2, 1, 8)), (8, t), (16, t)))
        out = torch.zeros(2, 8)
        for h in range(8):  # gcd(8, 8) heads of width 1
            share = (q[..., h] * k[..., h]).softmax(-1)
            out[:, h] = (share * v[..., h]).sum(-1)
        y = head.query[:, 0] + out @ head.attention.out_proj.weight.T + head.attention.out_proj.bias
        first, second = head.mlp[1], head.mlp[3]
        y = y + second(nn.functional.gelu(first(norm(y))))
        expected = head.classifier[2](norm(y))
        assert torch.allclose(head(maps), expected, atol=1e-5)
        shuffled = maps.flatten(2)[..., torch.randperm(18)].reshape(maps.shape)
        assert torch.allclose(head(shuffled), expected, atol=1e-5)  # a set of places
        assert not torch.allclose(head(maps + 1 * torch.randn_like(maps)), expected, atol=1e-2)


@pytest.mark.parametrize(
    ("changes", "trainer", "words"),
    [
        ({"optimisation__batch": 25}, {}, "optimisation.batch=25: an epoch has only 24 clips"),
        ({"views__crops": 2}, {}, "views.crops=2: is none of 1, 3"),
        ({"optimisation__optimiser": "adamx"}, {}, "optimisation.optimiser=adamx: is none of sgd, adam, adamw"),
        ({"splits__validation": "test"}, {}, "splits.selection=last: does not go with splits.validation=test"),
        ({}, {"max_epochs": 3}, "trainer.max_epochs: is the protocol's or vssl's own"),
        ({}, {"accelerator": "abacus"}, "trainer: .*abacus"),
        ({}, {"devices": {"a": 1}}, "trainer: .*devices"),
    ],
)
def test_what_cannot_be_trained_is_refused(world, tmp_path, changes, trainer, words):
    with pytest.raises(UserError, match=words):
        scored(encoder(tmp_path), world, small("finetune-v1", **changes), trainer=trainer)


@pytest.mark.parametrize(
    ("name", "changes", "backbone", "trainer", "clips"),
    [
        ("finetune-v1", {}, tiny, {}, 4),
        ("finetune-v1", {}, tiny, {"sync_batchnorm": True}, None),
        ("finetune-v1", {"frozen__batch_norm": "eval"}, tiny, {}, None),
        ("attentive-v1", {}, tiny, {}, None),
        ("finetune-v1", {}, lambda: without_norms(tiny()), {}, None),
        ("knn-v1", {}, tiny, {}, None),
    ],
)
def test_batch_norms_of_several_processes_are_another_measurement(
    world, tmp_path, monkeypatch, name, changes, backbone, trainer, clips
):
    protocol, given = load(name).override(**changes), encoder(tmp_path, backbone=backbone())
    batch = {"finetune-v1": 32, "attentive-v1": 64}.get(name)
    settings = {"manifest": world, "labels": ["motion"], "settings": Settings(trainer=trainer)}
    (alone,) = run._tasks([run.Job(protocol, [given])], **settings)
    monkeypatch.setattr(norms, "world_size", lambda: 8)
    (task,) = run._tasks([run.Job(protocol, [given])], **settings)
    one, many = (each.protocol.record(given.card._asdict()) for each in (alone, task))
    assert one == protocol.record(given.card._asdict())
    if clips is None:
        assert (task.key, many) == (alone.key, one)
        return
    assert clips == batch // 8
    assert task.key != alone.key
    assert many["fingerprint"] != one["fingerprint"]
    assert fields_that_differ(one, many) == {"frozen.clips_per_norm": (None, clips)}
    assert many["name"] == f"{name} ({clips} clips per norm)"


def without_norms(net):
    for module in list(net.modules()):
        for child, value in module.named_children():
            if isinstance(value, nn.BatchNorm3d):
                setattr(module, child, nn.Identity())
    return net


def test_processes_that_do_not_run_are_not_recorded(world, tmp_path):
    trainer = {"accelerator": "cpu", "devices": 2, "strategy": "ddp"}
    with pytest.raises(UserError, match="trainer: asks for 2 processes and 1 run"):
        scored(encoder(tmp_path), world, small("finetune-v1"), trainer=trainer)


def test_the_trainer_takes_the_layers_of_fit(tmp_path):
    layer = yaml.safe_load((Path(__file__).parents[3] / "configs" / "trainer" / "ddp.yaml").read_text())["trainer"]
    settings = Settings(trainer=layer | {"accelerator": "cpu", "devices": 2})
    found = trainer_of(settings, max_epochs=3, folder=tmp_path, callbacks=[])
    assert isinstance(found.strategy, DDPStrategy)
    assert (found.num_devices, found.max_epochs, found.precision) == (2, 3, "bf16-mixed")
    plain = trainer_of(Settings(), max_epochs=3, folder=tmp_path, callbacks=[])
    assert (plain.num_devices, plain.precision) == (1, "32-true")


def test_the_command_line(tmp_path, capsys, toy_manifest):
    """A config names protocol, changes, data and trainer; baselines have nothing to train and are left out."""
    run_dir = save(tmp_path / "run0", tiny())
    layer = tmp_path / "layer.yaml"
    layer.write_text(
        "evaluate: {protocol: finetune-v1, set: "
        "{optimisation.epochs: 1, optimisation.clips_per_video: 1, views.clips: 1}}\n"
        f"data: {{manifest: {toy_manifest}}}\ntrainer: {{accelerator: cpu, devices: 1}}\n"
    )
    argv = ["evaluate", str(run_dir), "-c", str(layer), "--workers", "0", "--label", "motion"]
    assert main([*argv, "--set", "optimisation.batch=12"]) == 0
    assert "finetune-v1+batch=12+clips_per_video=1+epochs=1+clips=1" in capsys.readouterr().out
    found = of_run(run_dir)
    assert {(r.kind, r.name) for r in found} == {("trained", "Tiny"), ("random", "random 0")}
    assert {r.details["seed"] for r in found} == {0}
    assert main([*argv, "--set", "klips=3"]) == 2
    assert "klips: is no field of finetune-v1" in capsys.readouterr().err
    assert main([*argv, "--protocol", "videomae-2022"]) == 2
    assert "videomae-2022: cannot be run here: RandAugment" in capsys.readouterr().err
