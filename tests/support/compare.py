"""What stands in for `vssl fit` and `vssl evaluate` where a test is about what calls them."""

import hashlib
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np

from vssl.errors import UserError
from vssl.evaluate.protocol import METRICS, load
from vssl.evaluate.result import Result, key, write

CARD = {"size": 48, "frames": 8, "stride": 2, "mean": [0.5] * 3, "std": [0.25] * 3, "color": "rgb"}
SPEC = {"class_path": "vssl.backbones.tiny.TinyVideo", "init_args": {"width": 16}}
LEAKS = "pretraining saw 9 source groups and 0 of 30 test files of this split"


class Fake:
    """Writes the files that the commands would; `kill` and `fail` make one call end as it may."""

    def __init__(self):
        self.calls, self.kill, self.fail = [], "", ""
        self.frozen, self.beside = "", []
        """What scored encoders learnt from, and the names of the baselines beside them."""

    def __call__(self, words, log, lock):
        assert (log.suffix, lock > 0) == (".log", True)
        self.calls.append(words)
        if self.fail and any(self.fail in word for word in words):
            raise UserError("exit code 2", "no such thing", "Log: L")
        {"fit": self.fit, "evaluate": self.evaluate}[words[0]](words)

    def die(self, what):
        if self.kill == what:
            self.kill = ""
            raise KeyError("killed")

    def fit(self, words):
        flags = dict(itertools.pairwise(words))
        run = Path(flags["--run_dir"])
        file = run / "checkpoints" / "last.ckpt"
        file.parent.mkdir(parents=True, exist_ok=True)
        split, seed = flags["--data.split"], flags["--seed_everything"]
        (run / "config.yaml").write_text(f"seed_everything: {seed}\nmodel: {{}}\ndata: {{split: {split}}}\n")
        file.write_text(f"weights {split} {seed}")
        self.die("fit")

    def evaluate(self, words):
        flags = dict(itertools.pairwise(words))
        run, splits = Path(words[1]), [int(s) for s in flags["--splits"].split(",")]
        sha = hashlib.sha256((run / "checkpoints" / "last.ckpt").read_bytes()).hexdigest()
        own = int(run.name.partition("-s")[2][:1] or 1)
        if flags["--data.manifest"] == "motion.csv":
            for split in splits:
                if split != own:
                    raise UserError("exit code 2", f"{run.name}: split {split}: {LEAKS}. Choose --splits 1", "Log: L")
        self.die("evaluate")
        for name in flags["--protocol"].split(","):
            for split in splits:
                made = result(run.name, sha, name, split=split, own=own, manifest=Path(flags["--data.manifest"]).stem)
                made.pretraining.update({"frozen": self.frozen} if self.frozen else {})
                write(made, run / "results")
                for control in self.beside:
                    bare = replace(made, key=made.key + control[:2], kind="baseline", name=control, pretraining={})
                    write(replace(bare, checkpoint={}), run / "results")


def result(run, sha, protocol, *, split=1, own=1, manifest="toy", right=0.7, seed=None, **fields):
    """A trained encoder's score on 300 videos."""
    hit = np.random.default_rng(split if seed is None else seed).random(300) < right
    rows = np.arange(300)
    record = fields.pop("record", None) or load(protocol).record(CARD)
    data = {"dataset": "motion", "manifest": "m", "split": own, "subset": "train", "rows": "aa", "num_videos": 576}
    made = Result(
        key=key(sha=sha, name=protocol, split=split, manifest=manifest),
        kind="trained",
        name="VSPP",
        run=run,
        dataset=manifest,
        manifest=manifest,
        split=split,
        label="speed",
        protocol=record,
        metrics=dict.fromkeys(METRICS[record["hard"]["task"]], 100 * float(hit.mean())),
        interval=[0.0, 100.0],
        num_scored=300,
        num_listed=300,
        num_official=None,
        num_gallery=576,
        num_gallery_listed=576,
        failures=[],
        predictions={
            "row": rows.tolist(),
            "predicted": np.where(hit, 0, 1).tolist(),
            "true": [0] * 300,
            "group": (rows // 5).tolist(),
        },
        classes=["a", "b"],
        card=CARD,
        backbone={"spec": SPEC, "num_parameters": 1000, "seed": None},
        pretraining={"method": "m.VSPP", "data": data, "labels_used": "none"},
        checkpoint={"sha": sha, "step": 9, "epoch": 1, "file": "last.ckpt"},
        environment={},
    )
    return replace(made, **fields)
