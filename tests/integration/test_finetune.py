"""Fine-tuning reads the toy world's motion; two processes train and score as one."""

import numpy as np
import pytest
import torch

from support.checkpoints import save
from support.cli import in_process
from support.ranks import run_ranks
from support.runs import difference
from vssl.backbones.tiny import TinyVideo
from vssl.data.manifest import Manifest
from vssl.data.toy import generate
from vssl.evaluate import run
from vssl.evaluate.clips.network import Network
from vssl.evaluate.clips.predict import predict
from vssl.evaluate.clips.trainer import launch
from vssl.evaluate.encoder import Encoder
from vssl.evaluate.passes import Settings
from vssl.evaluate.protocol import load
from vssl.evaluate.readouts.base import percent
from vssl.evaluate.result import of_run

pytestmark = pytest.mark.slow
LIMIT = 1e-6


class Shuffled(TinyVideo):
    """Sees the frames of a clip in another order, so nothing but the order is gone."""

    def forward(self, x):
        return super().forward(x[:, torch.tensor([3, 0, 6, 2, 7, 5, 1, 4])])


@pytest.mark.timeout(1800)  # minutes on an idle core
def test_finetuning_reads_the_motion_of_the_toy_world(tmp_path, capfd, record_property):
    """From a network as initialised: with labels, motion can be learned (test_toy_upper_bounds.py: shape)."""
    manifest = generate(tmp_path / "toy")
    torch.manual_seed(0)
    scratch = save(tmp_path / "scratch", TinyVideo(frames=8, stride=2))
    config = ["-c", "configs/protocol/finetune-toy.yaml", "--data.manifest", manifest, "--label", "motion"]
    done = in_process(capfd, "evaluate", scratch, *config, "--seeds-random", "0", "--workers", "1")
    assert done.returncode == 0, done.stderr
    (result,) = of_run(scratch)
    record_property("motion accuracy", result.metrics["top1"])
    assert result.num_scored == 384
    assert result.metrics["top1"] > 90.0

    protocol, videos = load("finetune-v1"), Manifest.load(manifest)
    net = Network(Shuffled(frames=8, stride=2), protocol, 8)
    (last,) = scratch.glob("training/*/last.ckpt")
    state = torch.load(last, weights_only=True)["state_dict"]
    net.load_state_dict({name.removeprefix("net."): value for name, value in state.items()})
    votes = predict(
        net,
        videos.rows(1, "test"),
        protocol=protocol,
        card=net.backbone.input,
        manifest=videos,
        settings=Settings(),
        device=torch.device("cpu"),
    )
    assert percent(votes.values.argmax(-1), videos.labels("motion")[0][votes.rows]) < 50.0


def _score(manifest, folder, trainer, epochs=2, protocol="attentive-v1"):
    torch.manual_seed(0)
    net = TinyVideo(4, light=True, size=24, frames=4, stride=2)
    given = Encoder(
        kind="trained",
        name="tiny",
        run="r0",
        folder=folder / "results",
        backbone=net,
        card=net.input,
        spec=net.spec(),
        checkpoint={"sha": "ab", "step": 1, "epoch": 0, "file": "last.ckpt"},
        splits=[1],
    )
    # not Adam: it divides the rounding of the keys' bias, whose gradient is 0, by itself
    changes = {"views__clips": 2, "optimisation__batch": 8, "optimisation__lr": 0.1, "optimisation__optimiser": "sgd"}
    changes["optimisation__epochs"] = epochs
    jobs = [run.Job(load(protocol).override(**changes), [given])]
    settings = launch(Settings(trainer=trainer))
    (result,) = run.evaluate(jobs, manifest=manifest, labels=["motion"], settings=settings)
    (file,) = folder.glob(f"training/{result.key}/last.ckpt")
    state = torch.load(file, weights_only=True)["state_dict"]
    return {name: value.numpy() for name, value in state.items()}, np.array(result.predictions["predicted"])


def _rank(_, world, manifest, folder):
    return _score(Manifest.load(manifest), folder, {"accelerator": "cpu", "devices": world, "strategy": "ddp"})


def test_two_processes_train_and_score_as_one(toy_manifest, tmp_path):
    one, world = {"accelerator": "cpu", "devices": 1}, Manifest.load(toy_manifest)
    alone, predicted = _score(world, tmp_path / "alone", one)
    for weights, answers in run_ranks(_rank, toy_manifest, tmp_path / "both"):
        assert difference(alone, weights) < LIMIT
        assert answers.tolist() == predicted.tolist()
    shorter, _ = _score(world, tmp_path / "shorter", one, epochs=1)
    assert difference(alone, shorter) > 1000 * LIMIT  # training moves the weights: the equality is not an empty one
    assert len(list((tmp_path / "both" / "results").glob("*.json"))) == 1


def _apart(_, world, manifest, folder):
    trainer = {"accelerator": "cpu", "devices": world, "strategy": "ddp"}
    _score(Manifest.load(manifest), folder, trainer, epochs=1, protocol="finetune-v1")


def test_batch_norms_that_run_apart_are_said(toy_manifest, tmp_path):
    """One folder of results: the score of one process is not taken for that of two."""
    one = {"accelerator": "cpu", "devices": 1}
    _score(Manifest.load(toy_manifest), tmp_path / "r0", one, epochs=1, protocol="finetune-v1")
    run_ranks(_apart, toy_manifest, tmp_path / "r0")
    alone, both = sorted(of_run(tmp_path / "r0"), key=lambda result: result.details["world_size"])
    assert [r.details["world_size"] for r in (alone, both)] == [1, 2]
    assert "clips per norm" not in alone.protocol["name"]
    assert both.protocol["name"].endswith(" (4 clips per norm)")
    assert alone.fingerprint != both.fingerprint
