"""`vssl fit` with stages as a user calls it: order, start weights, record, kills, mistakes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from support.cli import ENV, in_process, refused, vssl
from vssl import checkpoint, staged
from vssl.cli import main, stages
from vssl.cli.lightning_cli import FitCLI

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs" / "method"
STAGED = sorted(CONFIGS.rglob("*-then-*.yaml"))
SMALL = ["--model.backbone.width=4", "--data.batch_size=8", "--data.num_workers=0", "--trainer.max_steps=2"]


@pytest.fixture
def layer(tmp_path):
    """VSPP, then VSPP again with the other's encoder; each layer lies beside the list."""
    (tmp_path / "first.yaml").write_bytes((CONFIGS / "toy" / "vspp.yaml").read_bytes())
    entries = [{"name": "one", "config": "first.yaml"}, {"name": "two", "config": "first.yaml", "init_from": "one"}]
    (tmp_path / "both.yaml").write_text(yaml.safe_dump({"stages": entries}))
    return tmp_path / "both.yaml"


def command(layer, manifest, run, *more):
    return ["fit", "-c", str(layer), f"--data.manifest={manifest}", *SMALL, f"--run_dir={run}", *more]


def weights(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def encoder(state):
    return {k: v for k, v in state.items() if k.startswith("backbone.")}


def test_two_stages_are_one_run(layer, toy_manifest, tmp_path, capfd):
    run = tmp_path / "run"
    argv = command(layer, toy_manifest, run, "--stages.two.trainer.max_steps", "3")
    done = in_process(capfd, *argv)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"run: {run}"
    for text in ("stage 1/2 one", "stage 2/2 two", "backbone from", "kept", "dropped", "new"):
        assert text in done.stderr
    assert [checkpoint.read(run / name).step for name in ("one", "two")] == [2, 3]
    assert json.loads((run / "stages.json").read_text())["stages"] == ["one", "two"]
    assert checkpoint.read(run).path == run / "two" / "checkpoints" / "last.ckpt"
    assert checkpoint.read(run).budget["videos_seen"] == (2 + 3) * 8
    (origin,) = json.loads((run / "two" / "data.json").read_text())["init_from"]
    assert origin["step"] == 2
    kept = yaml.safe_load((run / "two" / "config.yaml").read_text())
    assert kept["init_from"] == str(run / "one" / "checkpoints" / "last.ckpt")

    # at its start, phase 2's encoder is phase 1's; its heads are not
    plan = stages.read(argv[1:])
    state = FitCLI([*plan.stages[1].line(run), f"--run_dir={tmp_path / 'again'}"]).model.state_dict()
    first = weights(run / "one")
    assert equal(encoder(state), encoder(first))
    assert not equal(state, first)
    fresh = FitCLI([*plan.stages[1].argv, f"--run_dir={tmp_path / 'fresh'}"]).model.state_dict()
    assert not equal(encoder(fresh), encoder(first))

    # the same command finds everything finished; without the marks it trains nothing either, and the weights stay
    before = weights(run / "two")
    assert "stage 2/2 two: finished" in in_process(capfd, *argv).stderr
    (run / "one" / staged.DONE).unlink()
    (run / "two" / staged.DONE).unlink()
    assert in_process(capfd, *argv).returncode == 0
    assert (run / "two" / staged.DONE).is_file()
    assert equal(weights(run / "two"), before)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--stages.two.model.optim.lrr=1"], ["optim.lrr", "unknown option"]),
        (["--stages.two.data.batch_size=4000"], ["data.batch_size=4000"]),
        (["--stages.two.model.backbone.width=8"], ["stage two: the encoder of stage one is another one: width"]),
        (["--stages.two.model.views.frames=7"], ["frames"]),
        (["--ckpt_path=x"], ["--ckpt_path: is not for all stages"]),
        (["--stages.three.data.split=1"], ["there are the stages one, two"]),
    ],
)
def test_what_a_later_stage_gets_wrong_is_told_before_the_first_trains(
    more, says, layer, toy_manifest, tmp_path, capfd
):
    refused(in_process(capfd, *command(layer, toy_manifest, tmp_path / "run", *more)), *says)
    assert not (tmp_path / "run").exists()


def test_a_folder_of_another_run_is_refused(layer, toy_manifest, tmp_path, capfd):
    run = tmp_path / "run"
    staged.write(run / staged.RECORD, {"stages": ["other"]})
    refused(in_process(capfd, *command(layer, toy_manifest, run)), "holds a run of the stages other")
    (run / "config.yaml").touch()
    refused(in_process(capfd, *command(layer, toy_manifest, run)), "already holds a run")


def test_init_from_is_refused_in_one_line(toy_manifest, tmp_path, capfd):
    argv = ["fit", "-c", CONFIGS / "toy" / "vspp.yaml", f"--data.manifest={toy_manifest}", *SMALL]
    done = in_process(capfd, *argv, "--init_from=nowhere", f"--run_dir={tmp_path / 'run'}")
    refused(done, "nowhere: no such checkpoint")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("file", STAGED, ids=lambda c: str(c.relative_to(CONFIGS)))
def test_the_staged_configurations_print_all_their_stages(file, toy_manifest, capfd):
    """Their layers exist, their encoders agree, and the second starts from the first."""
    assert main(["fit", "-c", str(file), f"--data.manifest={toy_manifest}", "--print_config"]) == 0
    out = capfd.readouterr().out
    first, second = yaml.safe_load_all(out)
    assert out.startswith("# stage 1/2 auxskd\n")
    assert f"# stage 2/2 {file.stem.removeprefix('auxskd-then-')}\n" in out
    assert first["init_from"] is None
    assert second["init_from"] == "RUN/auxskd/checkpoints/last.ckpt"
    assert first["model"]["init_args"]["backbone"] == second["model"]["init_args"]["backbone"]


def killed_when(argv, seen):
    """Start `vssl ARGV` and kill it as soon as `seen` exists."""
    process = subprocess.Popen([sys.executable, "-m", "vssl", *map(str, argv)], env=ENV, start_new_session=True)
    deadline = time.monotonic() + 240
    while not seen.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_killed_between_and_inside_stages(layer, toy_manifest, tmp_path):
    """Killed right after stage one, then in stage two once an epoch (3 steps) is saved; 60 steps follow it."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    steps = ["--stages.one.trainer.max_steps=5", "--stages.two.trainer.max_steps=63"]
    vssl(*command(layer, toy_manifest, whole, *steps))

    argv = command(layer, toy_manifest, broken, *steps)
    killed_when(argv, broken / "one" / "done.json")
    assert not (broken / "two" / "checkpoints" / "last.ckpt").exists()
    one = (broken / "one" / "checkpoints" / "last.ckpt").read_bytes()
    killed_when(argv, broken / "two" / "checkpoints" / "last.ckpt")
    assert not (broken / "two" / "done.json").exists()
    early = checkpoint.read(broken / "two" / "checkpoints" / "last.ckpt")
    assert early.step < 63
    done = vssl(*argv)
    assert "stage 1/2 one: finished" in done.stderr
    assert (broken / "one" / "checkpoints" / "last.ckpt").read_bytes() == one  # a finished stage is not touched
    assert (broken / "two" / "layers.resumed1").is_dir()
    assert equal(weights(whole / "two"), weights(broken / "two"))
    assert not equal(weights(whole / "two"), weights(whole / "one"))
    both = [checkpoint.read(run) for run in (whole, broken)]
    assert [info.budget["videos_seen"] for info in both] == [68 * 8] * 2
    assert [len(info.phases) for info in both] == [1, 1]


@pytest.mark.slow
def test_a_stage_killed_before_its_first_checkpoint_begins_again(layer, toy_manifest, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    vssl(*command(layer, toy_manifest, whole))
    argv = command(layer, toy_manifest, broken)
    killed_when(argv, broken / "one" / "config.yaml")
    assert not (broken / "one" / "checkpoints" / "last.ckpt").exists()
    vssl(*argv)
    assert (broken / "one.killed1" / "config.yaml").is_file()
    assert equal(weights(whole / "two"), weights(broken / "two"))


@pytest.mark.slow
def test_evaluate_and_compare_take_the_last_stage(layer, toy_manifest, tmp_path, capfd):
    run = tmp_path / "run"
    vssl(*command(layer, toy_manifest, run))
    vssl("evaluate", run, f"--data.manifest={toy_manifest}", "--label=speed", "--seeds-random=1", "--workers=0")
    assert list((run / "two" / "results").glob("*VSPP+VSPP*.json"))
    done = in_process(capfd, "compare", run)
    assert done.returncode == 0, done.stderr
    assert "VSPP+VSPP" in done.stdout
    assert "run/two" in done.stdout
