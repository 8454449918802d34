"""Invented results, written as `vssl evaluate` writes them."""

import numpy as np
import pytest

from vssl.evaluate.protocol import load
from vssl.evaluate.result import Result, key

CARD = {"size": 48, "frames": 8, "stride": 2, "mean": [0.5] * 3, "std": [0.25] * 3, "color": "rgb"}


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
