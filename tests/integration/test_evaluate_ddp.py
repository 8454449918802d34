"""Frozen scores over two processes: each computes its share of the videos, one writes, nothing else changes."""

import json

import numpy as np
import pytest
import torch
import yaml

from support.checkpoints import save
from support.cli import vssl
from vssl.backbones.tiny import TinyVideo
from vssl.data.manifest import Manifest

pytestmark = pytest.mark.slow

TWO = {"trainer": {"accelerator": "cpu", "devices": 2, "strategy": "ddp"}}


@pytest.fixture
def runs(tmp_path):
    """The same run twice, and a layer that asks for two processes."""
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(TWO))
    for name in ("run1", "run2"):
        torch.manual_seed(0)
        save(tmp_path / name, TinyVideo(4, light=True, size=24, frames=4))
    return tmp_path


def results(run):
    found = [json.loads(path.read_text()) for path in sorted((run / "results").glob("*.json"))]
    for result in found:
        del result["run"]
    return found


def test_two_processes_give_the_scores_of_one(runs, toy_manifest):
    asked = ["--data.manifest", toy_manifest, "--label", "shape,motion", "--protocol", "knn-v1,linear-v1,temporal-v1"]
    asked += ["--workers", "0", "--seeds-random", "1", "--clips", "2"]
    one = vssl("evaluate", runs / "run1", *asked, "--device", "cpu")
    two = vssl("evaluate", runs / "run2", *asked, "-c", runs / "two.yaml")
    assert results(runs / "run1") == results(runs / "run2") != []
    assert two.stdout == one.stdout.replace("run1", "run2")  # one process prints
    manifest = Manifest.load(toy_manifest)
    rows = sorted(row for part in ("train", "test") for row in manifest.listed(1, part).tolist())
    for column in (runs / "run2" / "features").iterdir():
        shards = [np.load(file) for file in column.glob("*.npz")]
        computed = sorted(np.append(shard["rows"], shard["lost_rows"]).tolist() for shard in shards)
        assert computed == [rows[0::2], rows[1::2]]


def test_features_are_written_by_one_process(runs, toy_manifest):
    asked = ["--data.manifest", toy_manifest, "--workers", "0", "--clips", "1"]
    vssl("features", runs / "run1", *asked, "--out", runs / "one.npz")
    shown = vssl("features", runs / "run2", *asked, "-c", runs / "two.yaml", "--out", runs / "two.npz").stdout
    assert shown.count("wrote") == 1
    one, two = np.load(runs / "one.npz"), np.load(runs / "two.npz")
    for name in one.files:
        np.testing.assert_array_equal(one[name], two[name])


def test_without_a_disk_cache_several_processes_are_refused(runs, toy_manifest):
    asked = ["--data.manifest", toy_manifest, "--no-cache", "-c", runs / "two.yaml", "--workers", "0"]
    done = vssl("evaluate", runs / "run2", *asked, check=False)
    assert done.returncode == 2
    assert "--no-cache: 2 processes hand features over on disk. Name --cache DIR" in done.stderr
