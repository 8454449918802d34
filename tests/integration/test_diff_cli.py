"""`vssl diff` on run directories as `vssl fit` and `vssl evaluate` leave them."""

import copy
import json
import subprocess
import sys
from dataclasses import replace

import pytest
import yaml

from support.cli import ENV, in_process, refused
from vssl.evaluate.diff import PARTS, differences
from vssl.evaluate.protocol import load
from vssl.evaluate.result import Result, write

CONFIG = {
    "seed_everything": 0,
    "trainer": {"max_steps": 100, "accelerator": "cpu", "precision": None},
    "model": {
        "class_path": "vssl.methods.vspp.VSPP",
        "init_args": {"views": {"frames": 16, "paces": 4}, "optim": {"lr": 0.1, "milestones": [6, 12]}},
    },
    "data": {"manifest": "a.csv", "split": 1, "batch_size": 8, "num_workers": 2, "reader": "pyav"},
    "run_dir": "runs/a",
}
ENVIRONMENT = {
    "python": "3.11.7",
    "packages": {"vssl": "0.1.0", "torch": "2.15.0", "av": "18.1.0", "torchcodec": None},
    "git": {"vssl": {"commit": "aaa", "dirty": False, "remote": None}},
    "time": "2026-01-01T00:00:00+00:00",
}
DATA = {
    "dataset": "toy",
    "manifest": "ad73",
    "split": 1,
    "rows": "2ab7",
    "group_hashes": [f"{i:04x}" for i in range(30)],
}
CARD = {"size": 48, "frames": 8, "stride": 2, "mean": [0.5] * 3, "std": [0.25] * 3, "color": "rgb"}


def score(**changes):
    protocol = load("knn-v1").record(CARD)
    filled = dict(
        key="k1", kind="trained", name="VSPP", run="a", dataset="toy", manifest="feed", split=1, label="speed"
    )
    rest = dict(metrics={"top1": 50.0}, interval=[0.0, 100.0], num_scored=1, num_listed=1, num_official=None)
    more = dict(num_gallery=1, num_gallery_listed=1, failures=[], predictions={}, classes=[], card=CARD, backbone={})
    last = dict(pretraining={}, checkpoint={}, environment={"av": "18.1.0"})
    return replace(Result(protocol=protocol, **filled, **rest, **more, **last), **changes)


@pytest.fixture
def run(tmp_path):
    """Makes a run directory; `change` edits the three records in place."""

    def make(name, change=None, *, results=(), suffix=""):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        records = copy.deepcopy((CONFIG, ENVIRONMENT, DATA))
        if change:
            change(*records)
        (folder / f"config{suffix}.yaml").write_text(yaml.safe_dump(records[0], sort_keys=False))
        (folder / f"environment{suffix}.json").write_text(json.dumps(records[1]))
        (folder / f"data{suffix}.json").write_text(json.dumps(records[2]))
        for result in results:
            write(result, folder / "results")
        return folder

    return make


def everything(config, environment, data):
    config["run_dir"] = "runs/b"
    environment["packages"] |= {"torch": "2.14.0", "vssl": "0.2.0", "av": "17.0.0"}
    config["seed_everything"] = 1
    config["trainer"]["max_steps"] = 200
    config["model"]["init_args"]["optim"]["lr"] = 0.2
    config["model"]["init_args"]["views"]["paces"] = 3
    data["manifest"] = "beef"
    data["group_hashes"] = [*data["group_hashes"][:-1], "ffff"]


def test_one_difference_of_every_part_in_the_order_of_effect(run):
    fixed = load("knn-v1").record(CARD | {"size": 64})
    first = run("a", results=[score()])
    found = differences(first, run("b", everything, results=[score(protocol=fixed)]))
    assert [(d.part, d.field, d.first, d.second) for d in found if d.field != "source groups seen"] == [
        ("data", "manifest hash", "ad73", "beef"),
        ("protocol", "knn-v1: input.size", 48, 64),
        ("method", "views.paces", 4, 3),
        ("optimisation", "trainer.max_steps", 100, 200),
        ("optimisation", "optim.lr", 0.1, 0.2),
        ("seed", "seed_everything", 0, 1),
        ("code", "vssl", "0.1.0", "0.2.0"),
        ("decoder", "av", "18.1.0", "17.0.0"),
        ("environment", "torch", "2.15.0", "2.14.0"),
        ("paths", "run_dir", "runs/a", "runs/b"),
    ]
    assert list(dict.fromkeys(d.part for d in found)) == list(PARTS)
    assert differences(first, first) == []


def test_data_seen_at_evaluation_and_scores_that_only_one_has(run):
    a = run("a", results=[score(), score(key="k2", label="shape"), score(key="k3", kind="random", label="hue")])
    b = run("b", results=[score(manifest="dead", leaked=True, environment={"av": "17.0.0"})])
    assert [tuple(d) for d in differences(a, b)] == [
        ("data", "toy: manifest hash at evaluation", "feed", "dead"),
        ("data", "toy split 1: leaked", False, True),
        ("protocol", "toy split 1 shape: knn-v1", "scored", "-"),
        ("decoder", "evaluation: av", "18.1.0", "17.0.0"),
    ]


def test_variants_of_a_protocol_do_not_hide_each_other(run):
    def variant(clips, **changes):
        return score(key=f"c{clips}", protocol=load("knn-v1").override(views__clips=clips).record(CARD), **changes)

    first, second = run("a", results=[score(), variant(1)]), run("b", results=[score(), variant(5)])
    assert [tuple(d) for d in differences(first, second)] == [
        ("protocol", "toy split 1 speed: knn-v1+clips=1", "scored", "-"),
        ("protocol", "toy split 1 speed: knn-v1+clips=5", "-", "scored"),
    ]


def test_results_of_one_run_that_disagree_are_all_shown(run):
    old = score(key="k0", split=2, environment={"av": "17.0.0"})
    first, second = run("a", results=[old, score()]), run("b", results=[score(), score(key="k2", split=2)])
    assert [tuple(d) for d in differences(first, second)] == [
        ("decoder", "evaluation: av", ["17.0.0", "18.1.0"], "18.1.0")
    ]


def test_a_run_in_stages_is_its_last_one_and_earlier_settings_count(run, tmp_path, capfd):
    def stages(name, change=None):
        def started(config, *_):
            config["init_from"] = f"{name}/first/checkpoints/last.ckpt"

        (tmp_path / name).mkdir()
        for stage, edit in (("first", change), ("last", started)):
            folder = run(f"{name}/{stage}", edit, results=[score()] if stage == "last" else ())
            (folder / "checkpoints").mkdir()
            (folder / "checkpoints" / "last.ckpt").touch()
            (folder / "done.json").touch()
        (tmp_path / name / "stages.json").write_text(json.dumps({"stages": ["first", "last"]}))
        return tmp_path / name

    def larger(config, *_):
        config["data"]["batch_size"] = 16

    assert [tuple(d) for d in differences(stages("a"), stages("b", larger))] == [
        ("optimisation", "first: data.batch_size", 8, 16),
        ("paths", "init_from", "a/first/checkpoints/last.ckpt", "b/first/checkpoints/last.ckpt"),
    ]
    (tmp_path / "b" / "last" / "done.json").unlink()
    assert ("protocol", "toy split 1 speed: knn-v1", "scored", "-") in differences(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "first" / "done.json").unlink()
    refused(in_process(capfd, "diff", tmp_path / "a", tmp_path / "b"), "no stage of it is finished")


def test_order_of_groups_and_time_of_day_are_no_differences(run):
    def shuffled(_, environment, data):
        data["group_hashes"].reverse()
        environment["time"] = "2027-01-01T00:00:00+00:00"

    assert differences(run("a"), run("b", shuffled)) == []


def test_of_a_run_that_was_continued_the_last_part_counts(run):
    def longer(config, *_):
        config["trainer"]["max_steps"] = 900

    first, second = run("a"), run("b")
    for suffix in (".resumed2", ".resumed10"):
        run("b", longer if suffix == ".resumed10" else None, suffix=suffix)
    assert [(d.field, d.second) for d in differences(first, second)] == [("trainer.max_steps", 900)]


def test_the_table_and_the_file(run, tmp_path, capfd):
    first, second = run("a"), run("b", everything)
    done = in_process(capfd, "diff", first, second, "--json", tmp_path / "new" / "d.json")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line for line in lines if "30, 1 only here" in line and "source groups seen" in line]
    order = [
        next(i for i, line in enumerate(lines) if field in line) for field in ("beef", "paces", "torch", "run_dir")
    ]
    assert order == sorted(order)
    written = json.loads((tmp_path / "new" / "d.json").read_text())["differences"]
    assert written[-1] == {"part": "paths", "field": "run_dir", "first": "runs/a", "second": "runs/b"}
    assert "no difference" in in_process(capfd, "diff", first, first).stdout


def test_what_is_no_run_is_refused_in_one_line(run, tmp_path, capfd):
    whole = run("a")
    refused(in_process(capfd, "diff", whole, tmp_path), "no run directory")
    refused(in_process(capfd, "diff", tmp_path / "none", whole), "none", "no run directory")
    refused(in_process(capfd, "diff", whole), "required")
    broken = run("b")
    (broken / "data.json").write_text('{"half":')
    refused(in_process(capfd, "diff", whole, broken), "data.json", "not readable")
    (broken / "data.json").write_text("[1]")
    refused(in_process(capfd, "diff", whole, broken), "data.json", "not a record")
    (broken / "data.json").unlink()
    (broken / "config.yaml").write_text("a: [1")
    refused(in_process(capfd, "diff", whole, broken), "config.yaml", "not readable")
    (broken / "config.yaml").write_text("!!python/object/apply:os.getcwd []")
    refused(in_process(capfd, "diff", whole, broken), "config.yaml", "not readable")


def test_it_needs_no_torch(run):
    words = ["diff", str(run("a", results=[score()])), str(run("b"))]
    code = f"import sys; from vssl.cli import main; assert main({words}) == 0; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], env=ENV, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
