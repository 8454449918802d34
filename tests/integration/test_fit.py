"""`vssl fit` as a user calls it: both methods, saved configuration, layers, overrides, mistakes."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from support.cli import in_process, refused, vssl
from vssl.cli import main
from vssl.data.manifest import Manifest
from vssl.data.toy import generate

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
STAGED = [c for c in CONFIGS if "-then-" in c.stem]
METHODS = [c for c in CONFIGS if "method" in c.parts and c not in STAGED]
TOY = ROOT / "configs" / "method" / "toy"
SMALL = ["--model.backbone.width=4", "--data.batch_size=8", "--data.num_workers=0", "--trainer.max_steps=4"]


def printed(capsys, *argv):
    """The configuration that `vssl fit ARGV --print_config` prints, in this process: starting one takes long."""
    with pytest.raises(SystemExit) as stop:
        main(["fit", *map(str, argv), "--print_config"])
    assert stop.value.code == 0
    return yaml.safe_load(capsys.readouterr().out)


def weights(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("name", ["vito", "vivi-ex4", "vspp"])
def test_fit_leaves_a_complete_record_that_reruns_to_the_same_weights(name, toy_manifest, tmp_path):
    run, again = tmp_path / "run", tmp_path / "again"
    # this small world has one shot per video, most of the time
    shots = ["--model.views.shots_from=auto"] if name.startswith("vivi") else []
    argv = ["-c", TOY / f"{name}.yaml", f"--data.manifest={toy_manifest}", *SMALL, *shots]
    done = vssl("fit", *argv, "--trainer.log_every_n_steps=1", f"--run_dir={run}")
    assert f"run: {run}" in done.stdout
    assert "24 videos of toy" in done.stderr or "24 videos" in done.stderr
    assert (run / "layers" / f"0-{name}.yaml").read_text() == (TOY / f"{name}.yaml").read_text()
    assert "vssl fit" in (run / "layers" / "command.txt").read_text()
    environment = json.loads((run / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert (environment["threads"], environment["gpu"]) == (1, None)  # support/cli.py sets it
    data = json.loads((run / "data.json").read_text())
    assert data["num_videos"] == 24
    assert len(data["group_hashes"]) == 24
    header = (run / "metrics.csv").read_text().splitlines()[0]
    for column in ("train/loss", "train/lr", "train/feature_std"):
        assert column in header
    assert list((run / "tensorboard").glob("events*"))
    assert {"epoch0001.ckpt", "last.ckpt"} <= {p.name for p in (run / "checkpoints").iterdir()}

    vssl("fit", "-c", run / "config.yaml", f"--run_dir={again}")
    assert equal(weights(run), weights(again))
    assert (again / "config.yaml").read_text() == (run / "config.yaml").read_text()
    other = tmp_path / "other"
    vssl("fit", "-c", run / "config.yaml", f"--run_dir={other}", "--seed_everything=1")
    assert not equal(weights(run), weights(other))


def test_every_configuration_is_counted():
    assert len(CONFIGS) == 63
    assert len(METHODS) == 37
    assert len(STAGED) == 12


@pytest.mark.parametrize("method", METHODS, ids=lambda c: str(c.relative_to(ROOT / "configs")))
def test_the_data_section_is_the_same_for_all_methods(method, toy_manifest, capsys):
    config = printed(capsys, "-c", method, f"--data.manifest={toy_manifest}")
    shared = {k: v for k, v in config["data"].items() if k not in ("batch_size", "images")}
    assert (config["data"]["images"] is not None) == method.stem.endswith("-co")
    assert shared == {
        "manifest": str(toy_manifest),
        "root": None,
        "label": "label",
        "split": 1,
        "subset": "train",
        "num_workers": -1,
        "reader": "auto",
    }


@pytest.mark.parametrize(
    ("data", "trainer"), [("toy", "cpu"), ("ucf101", "gpu"), ("hmdb51", "ddp"), ("kinetics", "ddp")]
)
def test_layers_merge(trainer, data, capsys):
    layers = [ROOT / "configs" / kind for kind in (f"data/{data}.yaml", "method/vito.yaml", f"trainer/{trainer}.yaml")]
    config = printed(capsys, *[word for layer in layers for word in ("-c", layer)])
    assert config["trainer"]["accelerator"] == ("cpu" if trainer == "cpu" else "gpu")
    assert config["data"]["manifest"].startswith("data/")
    if trainer == "ddp":
        assert config["trainer"]["sync_batchnorm"] is True
        assert config["trainer"]["strategy"]["init_args"]["find_unused_parameters"] is False


def test_interpolation_follows_overrides_and_the_environment(tmp_path, toy_manifest, capsys, monkeypatch):
    layer, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    shutil.copy(TOY / "vito.yaml", layer)
    second.write_text(
        "trainer:\n  log_every_n_steps: ${trainer.max_steps}\n  max_epochs: ${data.batch_size}\n"
        "data:\n  root: ${oc.env:VSSL_TEST_ROOT,elsewhere}\n"
    )
    argv = [
        "-c",
        layer,
        "-c",
        second,
        f"--data.manifest={toy_manifest}",
        "--trainer.max_steps=7",
        "--data.batch_size=5",
    ]
    config = printed(capsys, *argv)
    assert (config["trainer"]["log_every_n_steps"], config["trainer"]["max_epochs"]) == (7, 5)
    assert config["data"]["root"] == "elsewhere"
    monkeypatch.setenv("VSSL_TEST_ROOT", "/videos")
    assert printed(capsys, *argv)["data"]["root"] == "/videos"


MISTAKES = [
    (["--model.optim.lrr=1"], ["optim.lrr", "lr"]),
    (["--data.batchsize=4"], ["batchsize"]),
    (["--model.temperature=warm"], ["warm", "temperature"]),
    (["--data.manifest=nowhere.csv"], ["nowhere.csv", "no such file"]),
    (["--data.label=species"], ["species", "motion"]),
    (["--data.split=9"], ["9"]),
    (["--data.batch_size=4000"], ["data.batch_size=4000", "Lower data.batch_size"]),
    (["--model.optim.lr=-1"], ["optim.lr=-1.0", "positive"]),
    (["--ckpt_path=nowhere.ckpt"], ["nowhere.ckpt"]),
    (["-c", "nowhere.yaml"], ["nowhere.yaml"]),
    (["--model.backbone=vssl.backbones.Nothing"], ["vssl.backbones.Nothing"]),
    (["--trainer.max_epochs=many"], ["many", "max_epochs"]),
    (["--trainer.max_step=4"], ["--trainer.max_step: unknown option", "max_steps"]),
    (["--trainer.accelerator=gpux"], ["gpux", "cpu"]),
    (["--trainer.overfit_batches=1"], ["overfit_batches", "limit_train_batches"]),
    (["--trainer.max_steps=-1"], ["Set trainer.max_epochs or max_steps"]),
    (["--model.views.views=1"], ["views.views=1"]),
    (["--model.scales=9"], ["scales=9", "4 scales"]),
    (["--model.augment.min_crop=7"], ["crop areas"]),
    (["--model.backbone=NoSuch"], ["NoSuch: no such class"]),
    (["-c", "broken.yaml"], ["broken.yaml", "not a YAML mapping"]),
    (["-c", "unset.yaml"], ["nope"]),
]


@pytest.mark.parametrize(("extra", "says"), MISTAKES, ids=lambda v: " ".join(v) if v[0].startswith("-") else "")
def test_a_mistake_is_told_in_one_line(extra, says, toy_manifest, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    (tmp_path / "unset.yaml").write_text("trainer:\n  max_steps: ${nope.x}\n")
    argv = ["fit", "-c", TOY / "vito.yaml", f"--data.manifest={toy_manifest}", *SMALL, *extra]
    refused(in_process(capfd, *argv), *says)
    assert not (tmp_path / "runs").exists()  # nothing is left behind


def test_a_bank_that_the_batch_does_not_divide_is_told_before_the_run(toy_manifest, tmp_path, capfd):
    argv = ["fit", "-c", TOY / "auxskd.yaml", f"--data.manifest={toy_manifest}", *SMALL, "--data.batch_size=10"]
    done = in_process(capfd, *argv, f"--run_dir={tmp_path / 'run'}")
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last == "vssl: error: a batch of 10: does not divide the bank of 768 rows. Try a batch of 8."
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_run_directory_is_not_used_twice(toy_manifest, tmp_path, capfd):
    argv = ["fit", "-c", TOY / "vito.yaml", f"--data.manifest={toy_manifest}", *SMALL, f"--run_dir={tmp_path / 'run'}"]
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").touch()
    refused(in_process(capfd, *argv), "already holds a run", "it has no checkpoint")
    (tmp_path / "run" / "checkpoints" / "last.ckpt").touch()
    refused(in_process(capfd, *argv), "already holds a run", "continue it: --ckpt_path", "last.ckpt")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_video_that_went_bad_is_named_in_one_line(workers, tmp_path):
    manifest = generate(tmp_path / "toy", 20, 0, "constant", 1)
    rows = Manifest.load(manifest)
    bad = rows.file(int(rows.rows(1, "train")[5]))
    bad.write_bytes(bad.read_bytes()[:2000])
    argv = ["-c", TOY / "vito.yaml", f"--data.manifest={manifest}", *SMALL, f"--data.num_workers={workers}"]
    done = vssl("fit", *argv, f"--run_dir={tmp_path / 'run'}", check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("vssl: error: ")
    assert bad.name in last
    assert "vssl data check" in last


def test_a_checkpoint_of_another_method_is_refused(toy_manifest, tmp_path, capfd):
    run = tmp_path / "run"
    vssl("fit", "-c", TOY / "vspp.yaml", f"--data.manifest={toy_manifest}", *SMALL, f"--run_dir={run}")
    argv = ["fit", "-c", TOY / "vito.yaml", f"--data.manifest={toy_manifest}", *SMALL, f"--ckpt_path={run}"]
    refused(in_process(capfd, *argv), "a checkpoint of vssl.methods.vspp.VSPP, not of vssl.methods.vito.VITO")


def test_a_run_does_not_continue_on_other_videos(toy_manifest, tmp_path, capfd):
    """Or its record of what it saw, which the leak guard reads, would be wrong."""
    run = tmp_path / "run"
    argv = ["fit", "-c", TOY / "vito.yaml", f"--data.manifest={toy_manifest}", *SMALL]
    assert in_process(capfd, *argv, f"--run_dir={run}").returncode == 0
    done = in_process(capfd, *argv, f"--ckpt_path={run}", "--trainer.max_steps=6", "--data.subset=all")
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("vssl: error: --ckpt_path: the checkpoint was trained on another subset (train, here all).")
    assert "--init_from" in last
    assert in_process(capfd, *argv, f"--ckpt_path={run}", "--trainer.max_steps=6").returncode == 0
