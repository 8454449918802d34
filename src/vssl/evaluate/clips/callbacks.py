"""What watches a fine-tuning: its progress, and the epoch that a protocol chooses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.progress import Progress
from typing_extensions import override

from vssl.evaluate.clips.network import Training
from vssl.evaluate.features import Lost
from vssl.evaluate.fields import LOWEST_LOSS, MOST_RIGHT
from vssl.evaluate.result import whole


class Bar(Callback):
    """One line: how far training is.

    Args:
        console: Where to.
        title: What is trained.
    """

    def __init__(self, console: Console, title: str) -> None:
        self.progress, self.title = Progress(console=console, transient=True), title

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin where a resumed training stands."""
        assert isinstance(pl_module, Training)
        self.progress.start()
        self.task = self.progress.add_task(self.title, total=pl_module.total_steps, completed=trainer.global_step)

    @override
    @rank_zero_only
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One step."""
        self.progress.update(self.task, completed=trainer.global_step)

    @override
    @rank_zero_only
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """End, also after an error."""
        self.progress.stop()


class Selection(Callback):
    """Scores every epoch, and keeps the weights of the best; of equal ones the first.

    Args:
        score: Gives (percent right, mean cross-entropy, videos that could not be read) of the network as it is; called
            on every rank.
        by: `splits.selection`.
        file: Where the best weights go.
    """

    def __init__(self, score: Callable[[], tuple[float, float, list[Lost]]], by: str, file: Path) -> None:
        assert by in (LOWEST_LOSS, MOST_RIGHT)
        self.score, self.by, self.file = score, by, file
        self.epochs: dict[int, tuple[float, float]] = {}
        self.lost: list[Lost] = []

    @property
    def best(self) -> int:
        """Epoch that is chosen so far."""
        by_loss = self.by == LOWEST_LOSS
        return min(self.epochs, key=lambda e: (self.epochs[e][1] if by_loss else -self.epochs[e][0], e))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score; keep."""
        assert isinstance(pl_module, Training)
        top1, loss, lost = self.score()
        self.lost = sorted({*self.lost, *lost})
        self.epochs[trainer.current_epoch] = (top1, loss)
        pl_module.log_dict({"validation/top1": top1, "validation/loss": loss})
        if self.best == trainer.current_epoch and trainer.is_global_zero:
            with whole(self.file) as file:
                torch.save(pl_module.net.state_dict(), file)

    def record(self) -> dict[str, Any]:
        """The choice, for the result."""
        rows = [{"epoch": epoch, "top1": top1, "loss": loss} for epoch, (top1, loss) in sorted(self.epochs.items())]
        return {"epoch": self.best, "validation": rows}

    def state_dict(self) -> dict[str, Any]:
        """Scores and unread videos so far."""
        scores = [[epoch, top1, loss] for epoch, (top1, loss) in self.epochs.items()]
        return {"epochs": scores, "lost": [list(video) for video in self.lost]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on."""
        self.epochs = {int(epoch): (top1, loss) for epoch, top1, loss in state_dict["epochs"]}
        self.lost = [Lost(*video) for video in state_dict.get("lost", ())]
