"""The frozen image network that a checkpoint learnt from stands as a baseline beside it."""

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from support.cli import in_process
from support.runs import iboot, image_target, trained
from vssl.errors import UserError
from vssl.evaluate import controls
from vssl.evaluate.result import BASELINE, of_run


@pytest.fixture
def run(toy_manifest, tmp_path):
    torch.save(image_target(seed=3).net.state_dict(), tmp_path / "net.pth")
    saver = ModelCheckpoint(tmp_path / "run" / "checkpoints", save_last=True)
    build = lambda: iboot(target=image_target(weights=str(tmp_path / "net.pth"), provenance="noise"))
    trained(build, toy_manifest, steps=1, callbacks=[saver])
    return tmp_path / "run"


def test_the_image_network_is_a_row_of_the_table(run, toy_manifest, capfd):
    argv = ["evaluate", run, "--data.manifest", toy_manifest, "--clips", "1", "--seeds-random", "1", "--workers", "0"]
    done = in_process(capfd, *argv)
    name = "ImageTarget test_resnet (noise)"
    (found,) = [r for r in of_run(run) if r.name == name]
    assert found.kind == BASELINE
    assert found.card["mean"] == [0.5] * 3
    assert found.card["size"] == 24  # the pixels that the clip encoder gets
    assert "ImageTarget" in done.stdout
    (ours,) = [r for r in of_run(run) if r.kind == "trained"]
    assert ours.pretraining["frozen"] == name


def test_another_file_is_refused_and_a_missing_one_left_out(tmp_path):
    file = tmp_path / "net.pth"
    torch.save(image_target(seed=3).net.state_dict(), file)
    frozen = iboot(target=image_target(weights=str(file))).frozen()
    assert list(controls.frozen_encoders(frozen)) == ["ImageTarget test_resnet (net.pth)"]
    torch.save(image_target(seed=4).net.state_dict(), file)
    with pytest.raises(UserError, match="has SHA-256"):
        controls.frozen_encoders(frozen)
    file.unlink()
    assert controls.frozen_encoders(frozen) == {}
    assert list(controls.frozen_encoders(iboot().frozen())) == ["ImageTarget test_resnet (random 0)"]
