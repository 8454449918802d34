"""Lightning's Trainer as the user configures it, with what is the protocol's or ours kept out of reach."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonargparse
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import override

from vssl.distributed import rank
from vssl.errors import UserError
from vssl.evaluate.passes import Settings

FREE = (
    "accelerator",
    "devices",
    "num_nodes",
    "strategy",
    "precision",
    "sync_batchnorm",
    "benchmark",
    "deterministic",
    "log_every_n_steps",
)
"""What a `trainer` section may say; all else is the protocol's (length, batch) or ours (logger, checkpoints)."""
LAST = "last.ckpt"


def trainer_of(settings: Settings, *, max_epochs: int, folder: Path, callbacks: list[Callback]) -> Trainer:
    """The Trainer of one fine-tuning; checkpoints go to `folder` after every epoch and every 30 minutes.

    Raises:
        UserError: the section says something that is not its own, or Lightning cannot do.
    """
    shared: dict[str, Any] = {"dirpath": folder, "filename": Path(LAST).stem, "enable_version_counter": False}
    saving = [ModelCheckpoint(**shared), ModelCheckpoint(**shared, train_time_interval=timedelta(minutes=30))]
    logger = CSVLogger(folder, name="", version="")
    ours = {"max_epochs": max_epochs, "default_root_dir": str(folder), "num_sanity_val_steps": 0}
    return _trainer(settings, ours, logger=logger, callbacks=[*callbacks, *saving])


def launch(settings: Settings) -> Settings:
    """Start the processes that the trainer section asks for, as Lightning does; from here on all of them run.

    Returns:
        The settings with this process's device; only the first process keeps its console.

    Raises:
        UserError: the section says something that is not its own, or Lightning cannot do.
    """
    if not settings.trainer:
        return settings
    ours = {"enable_checkpointing": False, "use_distributed_sampler": False}
    with quiet():
        trainer = _trainer(settings, ours, logger=False, callbacks=[])
        trainer.predict(_Nothing(), DataLoader(TensorDataset(torch.zeros(1))))
    first = rank() == 0
    return replace(settings, device=str(trainer.strategy.root_device), console=settings.console if first else None)


class _Nothing(LightningModule):
    """Gives Lightning a reason to start its processes."""

    @override
    def predict_step(self, *args: Any) -> bool:
        return True


def _trainer(settings: Settings, ours: dict[str, Any], *, logger: Any, callbacks: list[Callback]) -> Trainer:
    given = _default(settings.device) | dict(settings.trainer)
    for name in set(given) - set(FREE):
        raise UserError(
            f"trainer.{name}", "is the protocol's or vssl's own", f"A trainer section takes {', '.join(FREE)}."
        )
    ours = ours | {"enable_progress_bar": False, "enable_model_summary": False}
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Trainer, "trainer", skip={"callbacks", "logger"}, instantiate=False)
    try:
        parsed = parser.parse_object({"trainer": given | ours})
        settled = parser.instantiate_classes(parsed)["trainer"]
        return Trainer(**settled, logger=logger, callbacks=callbacks)
    except (ValueError, TypeError, jsonargparse.ArgumentError) as error:
        raise UserError("trainer", " ".join(str(error).split()), "") from error


def _default(device: str) -> dict[str, Any]:
    kind, _, number = device.partition(":")
    return {"accelerator": "gpu" if kind == "cuda" else kind, "devices": [int(number)] if number else 1}


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning's tips and notes left out: they are about choices made here."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [each.level for each in loggers]
    with warnings.catch_warnings():
        for message in (
            ".*does not have many workers.*",
            ".*isinstance\\(treespec, LeafSpec\\).*",
            ".*is smaller than the logging interval.*",
            ".*exists and is not empty.*",
            ".*your dataloader is not resumable.*",
            ".*module\\(s\\) in eval mode.*",  # a frozen encoder
        ):
            warnings.filterwarnings("ignore", message=message)
        try:
            for each in loggers:
                each.setLevel(logging.WARNING)
            yield
        finally:
            for each, level in zip(loggers, levels, strict=True):
                each.setLevel(level)
