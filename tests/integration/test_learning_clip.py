"""Clip encoders learn on the toy world what they should (support/learning.py)."""

import csv
from pathlib import Path

import pytest
import torch
import yaml
from torch.utils.data import default_collate

from support.cli import vssl
from support.learning import NETWORK_SEED, TOY, WORLD_SEED, pretrained, scores
from vssl.backbones.tiny import TinyVideo
from vssl.data.dataset import VideoDataset
from vssl.data.manifest import Manifest
from vssl.data.toy import generate
from vssl.methods.vspp import VSPP
from vssl.types import Key
from vssl.views import Augment, PacedClips

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("worlds")


def test_vspp_solves_its_pretext_and_learns_speed(folder):
    run = pretrained(folder, "vspp", "constant", "speed,motion")
    pace, segment = pretext_accuracy(run, folder / "constant" / "manifest.csv")
    print(f"test pace {pace:.3f}, test segment {segment:.3f}")
    assert segment >= 0.75  # chance 0.25, ceiling 0.8125
    assert pace >= 0.45  # chance 0.25
    speed = scores(run, "speed")
    print(speed)
    assert speed.against_random.verdict == "beats"
    assert set(speed.baselines) == {"FrameDifference", "PixelHistogram"}


def pretext_accuracy(run: Path, manifest: Path, draws: int = 3) -> tuple[float, float]:
    """Pace and segment accuracy on test videos, network in eval mode, no photometry."""
    config = yaml.safe_load((run / "config.yaml").read_text())["model"]["init_args"]
    method = VSPP(TinyVideo(**config["backbone"]["init_args"]), views=PacedClips(**config["views"]))
    method.load_state_dict(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
    view = method.recipe.views["clips"]
    plain = Augment(crop="center", fraction=44 / 48, flip=0.0)
    recipe = method.recipe._replace(views={"clips": view._replace(augment=(plain,))})
    method.recipe = recipe
    videos = Manifest.load(manifest)
    labels, _ = videos.labels("speed")
    dataset = VideoDataset(videos, recipe=recipe, labels=labels, seed=7)
    keys = [Key(0, int(row), copy, 0) for copy in range(draws) for row in videos.rows(1, "test")]
    method.eval()
    hits = torch.zeros(2)
    with torch.inference_mode():
        for first in range(0, len(keys), 48):
            batch = default_collate([dataset[key] for key in keys[first : first + 48]])
            logs = method.step(batch).logs
            hits += torch.stack([logs["pace_accuracy"], logs["segment_accuracy"]]) * len(batch.row)
    return tuple((hits / len(keys)).tolist())


def test_auxskd_does_not_collapse(folder):
    """auxskd.md 10, check 8, after 500 steps; what a collapse looks like is tests/unit/methods/test_auxskd.py's."""
    manifest = generate(folder / "constant", 960, WORLD_SEED, "constant", 1)
    run = folder / "auxskd"
    argv = ["-c", TOY / "auxskd.yaml", f"--data.manifest={manifest}", f"--seed_everything={NETWORK_SEED}"]
    vssl("fit", *argv, "--data.num_workers=1", f"--run_dir={run}")
    with (run / "metrics.csv").open() as file:
        logged = [row for row in csv.DictReader(file) if row["train/teacher_entropy"]]
    last = {
        name: sum(float(row[f"train/{name}"]) for row in logged[-5:]) / 5 for name in ("teacher_entropy", "student_std")
    }
    print(last)
    assert int(logged[-1]["step"]) == 499
    assert 0.05 < last["teacher_entropy"] < 0.95
    assert last["student_std"] > 0.3  # of 1 / sqrt(width)
