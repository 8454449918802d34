"""Invented results, and a data set whose pixels are a function of the row: nothing is decoded."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from vssl.data.dataset import Failure
from vssl.data.manifest import Manifest
from vssl.evaluate import passes as passes_module
from vssl.evaluate.protocol import load
from vssl.evaluate.result import Result, key
from vssl.types import Sample

CARD = {"size": 48, "frames": 8, "stride": 2, "mean": [0.5] * 3, "std": [0.25] * 3, "color": "rgb"}
NUM = 24


@pytest.fixture
def make_result():
    """A factory: every argument is a field of Result, or how often predictions are right."""

    def make(
        right=0.5, *, num_videos=300, num_classes=4, num_groups=60, seed=0, kind="trained", protocol=None, **changes
    ):
        rng = np.random.default_rng(seed)
        rows = np.arange(1000, 1000 + num_videos)
        true = rows % num_classes
        hit = rng.random(num_videos) < right
        predicted = np.where(hit, true, (true + 1) % num_classes)
        record = (protocol or load("knn-v1")).record(changes.get("card", CARD))
        trained = kind == "trained"
        name = {"trained": "VSPP", "random": f"random {seed}", "baseline": "PixelHistogram"}[kind]
        spec = {"class_path": "vssl.backbones.tiny.TinyVideo", "init_args": {"width": 16}}
        sha = changes.pop("sha", "a" * 64)
        fields = {
            "kind": kind,
            "name": name,
            "run": "vspp-s0",
            "dataset": "toy",
            "manifest": "0123456789abcdef",
            "split": 1,
            "label": "speed",
            "protocol": record,
            "metrics": {"top1": 100 * float(hit.mean())},
            "interval": [100 * right - 5, 100 * right + 5],
            "num_scored": num_videos,
            "num_listed": num_videos,
            "num_official": None,
            "num_gallery": 576,
            "num_gallery_listed": 576,
            "failures": [],
            "predictions": {
                "row": rows.tolist(),
                "predicted": predicted.tolist(),
                "true": true.tolist(),
                "group": (rows % num_groups + 1).tolist(),
            },
            "classes": [f"class {c}" for c in range(num_classes)],
            "card": CARD,
            "backbone": {"spec": spec, "num_parameters": 228000, "seed": None if trained else seed},
            "pretraining": {},
            "checkpoint": {},
            "environment": {"vssl": "0.1"},
        }
        if trained:
            data = {"dataset": "toy", "manifest": "0123456789abcdef", "split": 1, "subset": "train"}
            data |= {"rows": "ff", "num_videos": 576}
            fields["pretraining"] = {"method": "x.VSPP", "data": data, "labels_used": "none", "clips_seen": 21600}
            fields["checkpoint"] = {"sha": sha, "step": 900, "epoch": 36, "file": "last.ckpt"}
        fields |= changes
        parts = [fields[n] for n in ("kind", "name", "dataset", "manifest", "split", "label", "protocol", "card")]
        fields.setdefault("key", key(parts=[*parts, fields["checkpoint"].get("sha"), fields["backbone"]]))
        return Result(**fields)

    return make


@pytest.fixture
def manifest(tmp_path):
    rows = np.arange(NUM)
    split = np.where(rows % 3 == 0, "test", "train")
    columns = {
        "path": [f"{row:02}.avi" for row in rows],
        "label": [f"c{row % 2}" for row in rows],
        "speed": ["" if row == 3 else f"v{row // 8}" for row in rows],
        "group": ["" if row == 0 else f"g{row // 2}" for row in rows],
        "split1": split.tolist(),
        "split2": np.where(rows < 12, "test", "train").tolist(),
        "blake2": [f"{row + 1:016x}" for row in rows],
        "seek": ["exact"] * NUM,
    }
    numbers = {"num_frames": 30, "fps": 25.0, "height": 8, "width": 8, "rotation": 0, "stream": 0}
    table = pa.table({**columns, **{name: [value] * NUM for name, value in numbers.items()}})
    info = {"dataset": "tiny", "counts": {"split1 test": {"official": 99}}}
    return Manifest(tmp_path / "m.csv", table=table, info=info, root=tmp_path, content_hash="feed")


@pytest.fixture
def passes(monkeypatch):
    """Rows of every decoding pass; row 6 does not decode."""
    seen = []

    def loader(manifest, rows, *, recipe, reader, num_workers, batch_size):
        assert (reader, num_workers) == ("auto", 0)
        seen.append([int(row) for row in rows])
        for start in range(0, len(rows), batch_size):
            part = [int(row) for row in rows[start : start + batch_size]]
            good = [row for row in part if row != 6]
            bad = [Failure(6, manifest.name(6), "frame 3 does not decode")] if 6 in part else []
            sampler, size = recipe.sampler, recipe.views["clips"].size
            yield (make_batch(good, sampler.clips, sampler.frames, size) if good else None), bad

    monkeypatch.setattr(passes_module, "evaluation_loader", loader)
    return seen


def make_batch(rows, clips, frames=1, size=4):
    pixels = [
        torch.randint(256, (clips, frames, 3, size, size), generator=torch.Generator().manual_seed(r)) for r in rows
    ]
    none = torch.full((len(rows),), -1)
    views = {"clips": torch.stack(pixels).to(torch.uint8)}
    return Sample(views=views, params={"clips": {}}, targets={}, images={}, label=none, row=torch.tensor(rows))


@pytest.fixture
def batch():
    """What the loader yields for some rows."""
    return make_batch
