"""A run that is killed in the middle of an epoch continues to the same weights, bit for bit."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from support.cli import ENV, SOURCE, vssl
from support.plugins import installed
from support.ranks import run_ranks
from support.runs import SGD, auxskd, difference, trained, vito, vspp

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
    env = {**ENV, "PYTHONPATH": f"{plugins}{os.pathsep}{SOURCE}"}
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


LENGTHS = {
    "max_steps": {"steps": 12},
    "max_epochs": {"steps": -1, "max_epochs": 4},
    "accumulated": {"steps": 6, "accumulate_grad_batches": 2},
}


@pytest.fixture(scope="module", params=LENGTHS)
def steps_saved(request, toy_manifest, tmp_path_factory):
    """Twelve micro-batches, three an epoch, a checkpoint after each optimizer step and each epoch, and the end."""
    folder = tmp_path_factory.mktemp("steps")
    shared = {"dirpath": folder, "save_top_k": -1, "auto_insert_metric_name": False}
    savers = [
        ModelCheckpoint(**shared, filename="step{step}", every_n_train_steps=1),
        ModelCheckpoint(**shared, filename="epoch{epoch}"),
    ]
    settings = LENGTHS[request.param]
    return folder, settings, trained(vito, toy_manifest, callbacks=savers, **settings)


@pytest.mark.parametrize("saved", ["step1", "step2", "step3", "step4", "step5", "epoch0", "epoch1"])
def test_every_checkpoint_continues_to_the_same_weights(saved, steps_saved, toy_manifest):
    folder, settings, end = steps_saved
    again = trained(vito, toy_manifest, ckpt_path=str(folder / f"{saved}.ckpt"), **settings)
    assert difference(end, again) == 0.0


class StopAt(Callback):
    """What trainer.max_time and a full disk's handler do: ask for an end in the middle of an epoch."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop = trainer.should_stop or trainer.global_step == self.step


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("step", [4, 5])
def test_a_run_that_was_asked_to_stop_in_mid_epoch_continues_exactly(length, step, toy_manifest, tmp_path):
    settings = LENGTHS[length]
    end = trained(vito, toy_manifest, **settings)
    saver = ModelCheckpoint(tmp_path, save_last=True)
    part = trained(vito, toy_manifest, callbacks=[saver, StopAt(step)], **settings)
    assert difference(end, part) > 0.0
    again = trained(vito, toy_manifest, ckpt_path=str(tmp_path / "last.ckpt"), **settings)
    assert difference(end, again) == 0.0


def test_a_longer_run_goes_on_where_the_shorter_one_ended(toy_manifest, tmp_path):
    """With a schedule that does not know the length, 4 steps and then 12 are 12."""
    end = trained(constant, toy_manifest, steps=12)
    trained(constant, toy_manifest, steps=4, callbacks=[ModelCheckpoint(tmp_path, save_last=True)])
    again = trained(constant, toy_manifest, steps=12, ckpt_path=str(tmp_path / "last.ckpt"))
    assert difference(end, again) == 0.0


def test_the_bank_is_part_of_what_is_resumed(toy_manifest, tmp_path):
    """Saved in mid-epoch; then the same with the bank it started with."""
    settings = {"steps": 5, "batch_size": 4, "accumulate_grad_batches": 2}
    saver = ModelCheckpoint(
        tmp_path, save_top_k=-1, filename="step{step}", auto_insert_metric_name=False, every_n_train_steps=1
    )
    end = trained(auxskd, toy_manifest, callbacks=[saver], **settings)
    saved = tmp_path / "step2.ckpt"
    again = trained(auxskd, toy_manifest, ckpt_path=str(saved), **settings)
    assert difference(end, again) == 0.0
    state = torch.load(saved, weights_only=True)
    assert int(state["state_dict"]["bank.pointer"]) == 16
    state["state_dict"]["bank.rows"] = auxskd().bank.rows
    torch.save(state, saved)
    without = trained(auxskd, toy_manifest, ckpt_path=str(saved), **settings)
    assert difference(end, without) > 1e-3


def constant():
    return vspp(replace(SGD, schedule="constant", warmup=0))


def test_a_checkpoint_of_one_process_continues_on_two(toy_manifest, tmp_path):
    saver = ModelCheckpoint(
        tmp_path, save_top_k=-1, filename="step{step}", auto_insert_metric_name=False, every_n_train_steps=1
    )
    shared = {"steps": 8, "exact_norms": True}
    end = trained(vspp, toy_manifest, callbacks=[saver], **shared)
    first, second = run_ranks(_continue, str(toy_manifest), str(tmp_path / "step4.ckpt"))
    assert difference(first, second) == 0.0
    assert difference(end, first) <= 1e-6


def _continue(_, world, manifest, ckpt_path):
    return trained(vspp, manifest, steps=8, exact_norms=True, ckpt_path=ckpt_path, devices=world, strategy="ddp")
