"""One score of a protocol that trains on clips: training, resumed where it stands, then every test video."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_only

from vssl.data.manifest import Manifest
from vssl.distributed import barrier, world_size
from vssl.errors import UserError
from vssl.evaluate import passes
from vssl.evaluate.clips.callbacks import Bar, Selection
from vssl.evaluate.clips.data import LabelledClips, Rows, rows_of
from vssl.evaluate.clips.network import Network, Training, optim
from vssl.evaluate.clips.predict import Votes, predict
from vssl.evaluate.clips.trainer import LAST, quiet, trainer_of
from vssl.evaluate.features import Lost
from vssl.evaluate.fields import NONE
from vssl.evaluate.readouts.base import Answer, percent
from vssl.evaluate.result import RANDOM, Result, write
from vssl.evaluate.score import Task, lists, record

FOLDER = "training"
"""Beside the results: one folder per score, its checkpoint and training curve."""
BEST = "best.pt"


class _Setting(NamedTuple):
    """What the steps of one score share."""

    task: Task
    manifest: Manifest
    settings: passes.Settings
    ids: np.ndarray


def score(task: Task, *, manifest: Manifest, table: tuple[np.ndarray, list[str]], settings: passes.Settings) -> Result:
    """Train, predict, write; `table` holds class ids per row (-1: none) and class names.

    Raises:
        UserError: a list is empty, the batch is larger than an epoch, or the trainer section is wrong.
    """
    ids, classes = table
    setting, rows = _Setting(task, manifest, settings, ids), rows_of(task, manifest, ids)
    net, trainer, details, unread = _trained(setting, rows, num_classes=len(classes))
    votes = _predict(setting, net, rows.test, trainer.strategy.root_device)
    # of the test list the last answers say what could be read, also where the epoch was chosen on it
    aside = np.setdiff1d(rows.validation, [*rows.test, *(video.row for video in unread)])
    lost = {video.row: video for video in [*unread, *votes.lost, *rows.lost] if video.row not in votes.rows}
    found = lists(task, manifest, ids=ids, readable=np.concatenate([rows.train, aside, votes.rows]))
    true = ids[votes.rows]
    predicted = votes.values.argmax(-1)
    metrics = {"top1": percent(predicted, true), "clip top1": percent(votes.views, true[:, None])}
    answer = Answer(metrics, votes.rows, predicted, true, list(classes), details)
    result = record(
        task,
        answer,
        found,
        manifest=manifest,
        lost=sorted(lost.values()),
        reader=settings.reader,
        device=str(trainer.strategy.root_device),
        precision=str(trainer.precision),
    )
    rank_zero_only(write)(result, task.encoder.folder)
    return result


class _Trained(NamedTuple):
    net: Network
    """After its last epoch, or the chosen one."""
    trainer: Trainer
    details: dict[str, Any]
    unread: list[Lost]
    """Of the videos that the epoch was chosen on."""


def _trained(setting: _Setting, rows: Rows, *, num_classes: int) -> _Trained:
    """Train; continues from what a killed command left."""
    task, manifest, settings, _ = setting
    encoder, protocol = task.encoder, task.protocol
    seed = protocol["optimisation.seed"] if encoder.seed is None else encoder.seed
    if encoder.kind == RANDOM and protocol["controls.calibration"] != NONE:
        passes.calibrate([encoder], protocol, manifest, settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Network(copy.deepcopy(encoder.backbone), protocol, num_classes).train()
    module = Training(net, encoder.card, optim(protocol))
    data = LabelledClips(
        manifest, rows.train, task=task, num_workers=settings.num_workers, reader=settings.reader, seed=seed
    )
    folder = encoder.folder.parent / FOLDER / task.key
    last, selection = folder / LAST, None
    callbacks: list[Callback] = []
    if protocol["splits.validation"] != NONE:
        selection = Selection(lambda: _validate(setting, module, rows), protocol["splits.selection"], folder / BEST)
        callbacks.append(selection)
    if settings.console:
        callbacks.append(Bar(settings.console, f"{encoder.name}: {protocol.name}, split {task.split}, {task.label}"))
    rank_zero_only(_prepare)(folder, fresh=settings.force)
    barrier()  # all processes see the folder as the first one leaves it
    with quiet():
        trainer = trainer_of(settings, max_epochs=protocol["optimisation.epochs"], folder=folder, callbacks=callbacks)
        if trainer.world_size != world_size():
            rule = f"asks for {trainer.world_size} processes and {world_size()} run"
            raise UserError("trainer", rule, "Start them before: vssl.evaluate.clips.trainer.launch(settings)")
        ckpt_path = str(last) if last.is_file() else None
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    if selection:
        trainer.strategy.barrier()  # the best weights are on disk
        net.load_state_dict(torch.load(folder / BEST, weights_only=True))
    synced = bool(settings.trainer.get("sync_batchnorm", False))
    details = _details(trainer, data, seed) | {"sync_batchnorm": synced} | (selection.record() if selection else {})
    return _Trained(net, trainer, details, selection.lost if selection else [])


def _prepare(folder: Path, *, fresh: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if fresh:
        (folder / LAST).unlink(missing_ok=True)
    metrics = folder / "metrics.csv"  # Lightning's logger starts the file anew
    if metrics.exists():
        metrics.rename(folder / f"metrics.{len(list(folder.glob('metrics.*.csv'))) + 1}.csv")


def _details(trainer: Trainer, data: LabelledClips, seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "num_train": len(data.rows),
        "steps": trainer.global_step,
        "clips_seen": trainer.global_step * data.batch_size,
        "world_size": trainer.world_size,
    }


def _validate(setting: _Setting, module: Training, rows: Rows) -> tuple[float, float, list[Lost]]:
    silent = setting._replace(settings=replace(setting.settings, console=None))  # one bar at a time: training's
    votes = _predict(silent, module.net, rows.validation, module.device)
    true = setting.ids[votes.rows]
    shares = torch.from_numpy(votes.values)
    if setting.task.protocol["views.average"] == "softmax":
        shares = shares.clamp_min(1e-12).log()
    loss = torch.nn.functional.nll_loss(shares.log_softmax(-1), torch.from_numpy(true))
    return percent(votes.values.argmax(-1), true), float(loss), votes.lost


def _predict(setting: _Setting, net: Network, rows: np.ndarray, device: torch.device) -> Votes:
    task, manifest, settings, _ = setting
    encoder = task.encoder
    return predict(
        net,
        rows,
        protocol=task.protocol,
        card=encoder.card,
        manifest=manifest,
        settings=settings,
        device=device,
    )
