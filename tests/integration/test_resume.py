"""A run that is killed in the middle of an epoch continues to the same weights, bit for bit."""

import signal
import subprocess
import sys
import time

import pytest
import torch

from support.cli import ENV, vssl
from support.plugins import installed

pytestmark = pytest.mark.slow

CONFIG = """
model:
  class_path: vssl_good.Dropper
  init_args:
    backbone: {class_path: vssl.backbones.TinyImage, init_args: {width: 4}}
    dropout: 0.5
data: {batch_size: 8}
trainer:
  accelerator: cpu
  max_epochs: 6
  log_every_n_steps: 1
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {dirpath: CHECKPOINTS, filename: "step{step}", auto_insert_metric_name: false, every_n_train_steps: 1,
                  save_top_k: -1}
"""


def config(folder, run):
    file = folder / f"{run.name}.yaml"
    file.write_text(CONFIG.replace("CHECKPOINTS", str(run / "each")))
    return file


def weights(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_in_mid_epoch(workers, toy_manifest, tmp_path):
    """24 videos, batch 8: three steps an epoch; killed once step 8, the second of the third epoch, is on disk."""
    plugins = installed(tmp_path / "plugins", "good")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    shared = [f"--data.manifest={toy_manifest}", f"--data.num_workers={workers}"]
    vssl("fit", "-c", config(tmp_path, whole), *shared, f"--run_dir={whole}", path=[plugins])

    argv = ["fit", "-c", str(config(tmp_path, broken)), *shared, f"--run_dir={broken}"]
    env = {**ENV, "PYTHONPATH": str(plugins)}
    process = subprocess.Popen([sys.executable, "-m", "vssl", *argv], env=env, start_new_session=True)
    target, deadline = broken / "each" / "step8.ckpt", time.monotonic() + 120
    while not target.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for later in (broken / "each").glob("step*.ckpt"):  # it may have got one step further
        if later != target:
            later.unlink()

    vssl("fit", "-c", config(tmp_path, broken), *shared, f"--ckpt_path={target}", f"--run_dir={broken}", path=[plugins])
    one, other = weights(whole), weights(broken)
    assert all(torch.equal(one[k], other[k]) for k in one)
    assert len(list(broken.glob("metrics*.csv"))) == 2  # what was logged before the kill is kept
    early = torch.load(target, weights_only=True)["state_dict"]
    assert not all(torch.equal(one[k], early[k]) for k in one)  # the rest of the run did something
