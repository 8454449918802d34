"""A module whose schedules are pure functions of the global step: what pretraining and fine-tuning share."""

import logging
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch.optim import Optimizer

from vssl.errors import UserError
from vssl.optim import Optim

logger = logging.getLogger(__name__)


class ScheduledModule(LightningModule):
    """Optimizer, learning rate of every step, and checkpoints from which Lightning resumes exactly.

    Args:
        optim: Optimizer and schedule.
    """

    def __init__(self, optim: Optim) -> None:
        super().__init__()
        self.optim = optim

    def configure_optimizers(self) -> Optimizer:
        """One optimizer over everything that trains."""
        if self.optim.warmup_is_cut(total=self.total_steps, steps_per_epoch=self.steps_per_epoch):
            logger.warning(
                "warm-up of %s %ss is as long as the run of %d steps: cut to it",
                self.optim.warmup,
                self.optim.unit,
                self.total_steps,
            )
        return self.optim.build(self)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Any = None,
    ) -> None:
        """Set the learning rate of this step and take it."""
        step = self.global_step  # 0-based index of the step about to be taken
        lr = self.optim.lr_at(
            step, total=self.total_steps, steps_per_epoch=self.steps_per_epoch, batch=self.effective_batch
        )
        for group in optimizer.param_groups:
            group["lr"] = lr
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.log("train/lr", lr)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Mend the state of the loops."""
        if "loops" in checkpoint:
            _as_after_the_last_batch(checkpoint["loops"]["fit_loop"])

    @property
    def seed(self) -> int:
        """The run's seed, as the datamodule holds it."""
        return int(getattr(getattr(self.trainer, "datamodule", None), "seed", 0))

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch, known without building a loader (which would lose its resume position)."""
        batches = self.data.batches_per_epoch
        limit = self.trainer.limit_train_batches
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        return max(1, -(-batches // self.trainer.accumulate_grad_batches))

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run, from max_steps or max_epochs, whichever comes first."""
        steps, epochs = self.trainer.max_steps, self.trainer.max_epochs
        by_epochs = self.steps_per_epoch * epochs if epochs is not None and epochs > 0 else None
        if steps > 0:
            return min(steps, by_epochs) if by_epochs else steps
        if by_epochs is None:
            raise UserError(
                "trainer.max_epochs", "schedules need the length of the run", "Set trainer.max_epochs or max_steps."
            )
        return by_epochs

    @property
    def effective_batch(self) -> int:
        """Videos per optimizer step over all ranks and accumulated micro-batches."""
        return self.data.batch_size * self.trainer.accumulate_grad_batches

    @property
    def data(self) -> Any:
        """The datamodule that `trainer.fit` was given; not typed, since methods do not import `data`."""
        data = getattr(self.trainer, "datamodule", None)
        if data is None:
            raise UserError("trainer.fit", "schedules need the datamodule", "Pass datamodule=VideoDataModule(...).")
        return data


def _as_after_the_last_batch(loop: dict[str, Any]) -> None:
    """Turn the state saved at the end of an epoch into the one after its last batch, which Lightning resumes exactly.

    Lightning 2.6 counts an epoch as processed before the hooks of its end save a checkpoint, also where `max_steps`,
    `max_time` or `should_stop` ended it early. It then resumes by a surplus batch in the old epoch, or leaves out the
    rest of it. The two states mean the same for everything else.
    """
    epoch, batch = loop["epoch_progress"], loop["epoch_loop.batch_progress"]
    now = epoch["current"]
    if now["ready"] == now["processed"] > 0:
        ended = now["completed"] == now["processed"]  # saved after the run, not by a hook of the epoch's end
        for count in ("current", "total"):
            epoch[count]["processed"] -= 1
            epoch[count]["completed"] -= ended
            batch[count]["completed"] -= 1
