"""A third-party method trains by configuration alone; a broken one names itself and breaks nothing else."""

from pathlib import Path

import pytest

from support.cli import refused, vssl
from support.plugins import installed

ROOT = Path(__file__).parents[2]
SMALL = ["--data.batch_size=8", "--data.num_workers=0", "--trainer.max_steps=2", "--trainer.accelerator=cpu"]
BACKBONE = ["--model.backbone=vssl.backbones.TinyImage", "--model.backbone.width=4"]


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    return installed(tmp_path_factory.mktemp("plugins") / "site", "good", "broken", "namesake")


def test_listed_beside_ours_without_being_imported(plugins):
    out = vssl("methods", path=[plugins])
    assert "vssl_good.Dropper" in out.stdout
    assert "vssl_broken.Thing" in out.stdout
    assert "vssl-broken" in out.stdout
    assert out.stderr == ""
    assert "vssl_good.Dropper" not in vssl("methods").stdout


def test_a_foreign_method_trains_by_configuration_alone(plugins, toy_manifest, tmp_path):
    argv = ["--model=vssl_good.Dropper", *BACKBONE, f"--data.manifest={toy_manifest}", *SMALL]
    done = vssl("fit", *argv, f"--run_dir={tmp_path / 'run'}", path=[plugins])
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
    warning = next(line for line in done.stderr.splitlines() if "plugin" in line)
    for part in ("broken", "vssl-broken", "RuntimeError", "another release"):
        assert part in warning


def test_a_namesake_of_ours_breaks_nothing(plugins, toy_manifest, tmp_path):
    toy = ROOT / "configs" / "method" / "toy" / "vito.yaml"
    ours = [f"--data.manifest={toy_manifest}", *SMALL, "--model.backbone.width=4", f"--run_dir={tmp_path / 'ours'}"]
    vssl("fit", "-c", toy, *ours, path=[plugins])
    theirs = ["--model=vssl_namesake.VITO", *BACKBONE, f"--data.manifest={toy_manifest}", *SMALL]
    vssl("fit", *theirs, f"--run_dir={tmp_path / 'theirs'}", path=[plugins])
    ambiguous = ["--model=VITO", *BACKBONE, f"--data.manifest={toy_manifest}", *SMALL]
    done = vssl("fit", *ambiguous, cwd=tmp_path, path=[plugins], check=False)
    lines = [line for line in done.stderr.splitlines() if "plugin broken" not in line]
    done.stderr = "\n".join(lines)
    refused(done, "VITO", "vssl.methods.vito.VITO", "vssl_namesake.VITO")
