"""`Method`: the only base class. A method is a recipe for its data, a backbone to evaluate and one loss step."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from vssl.backbones.base import Backbone
from vssl.distributed import rank
from vssl.ema import Ema
from vssl.errors import UserError
from vssl.optim import Optim
from vssl.scheduled import ScheduledModule
from vssl.seeds import seed_of
from vssl.types import Batch, StepOutput
from vssl.views.augment import Augment
from vssl.views.photometry import photometry
from vssl.views.plan import Recipe, View

NO_LABELS, UNKNOWN = "none", "unknown"


class Method(ScheduledModule, ABC):
    """What every method promises.

    A subclass sets `recipe`, builds its modules and implements `step`; nothing else is overridden. Everything that
    depends on where training is (learning rate, EMA momentum, the step's randomness) is a pure function of the global
    step, so a resumed run equals an uninterrupted one.

    Args:
        backbone: The encoder that is trained and later evaluated.
        optim: Optimizer and schedule.
    """

    recipe: Recipe
    backbone: Backbone

    def __init__(self, backbone: Backbone, optim: Optim) -> None:
        super().__init__(optim)
        self.backbone = backbone
        self.phases: list[dict[str, Any]] = []
        """What this run's backbone started from, first to last: runs (`vssl.initialise`), or a file of weights."""
        if weights := getattr(backbone, "weights", None):
            self.begins_with(weights)

    def begins_with(self, weights: str) -> None:
        """The backbone was filled from a file: what it saw, and with which labels, is not known."""
        budget = {"labels_used": f"{UNKNOWN} ({Path(weights).name})"}
        record = {"method": "weights", "step": 0, "epoch": 0, "sha": "", "file": weights}
        self.phases = [{**record, "budget": budget, "seen": None}]

    @abstractmethod
    def step(self, batch: Batch) -> StepOutput:
        """One micro-batch to its loss. Randomness from torch's global generator is seeded before every call."""

    def teachers(self) -> Iterable[tuple[Ema, nn.Module]]:
        """Pairs (teacher, student) to move after every optimizer step."""
        return ()

    def frozen(self) -> dict[str, dict[str, Any]]:
        """Frozen encoders the method learns from, name -> spec: checkpoints name them, evaluation shows them too."""
        return {}

    def restart_teachers(self) -> None:
        """Called once the backbone was initialised from another run: every teacher starts as its student's copy."""
        for ema, student in self.teachers():
            ema.restart(student)

    def pictures(self, batch: Batch) -> dict[str, Float[Tensor, "rows columns 3 h w"]]:
        """Sheets in [0, 1] that TensorBoard shows under these names; called in eval mode, without gradient."""
        del batch  # for a method that has something to show
        return {}

    def view(self, batch: Batch, name: str) -> Float[Tensor, "b v t c h w"]:
        """A finished view: uint8 to float, its drawn photometry, its own mean and std; batched, on the device."""
        view = self.recipe.views[name]
        with torch.autocast(self.device.type, enabled=False):
            x = photometry(batch.views[name].float().div_(255.0), batch.params.get(name, {}))
            mean, std = (x.new_tensor(values).view(3, 1, 1) for values in (view.mean, view.std))
            return x.sub_(mean).div_(std)

    # ------------------------------------------------------------------------------------- shared, not to be overridden
    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Seed, step, log. Returns the loss and the features that monitors read."""
        torch.manual_seed(seed_of(self.seed, "step", self.global_step, batch_idx, rank()))
        out = self.step(batch)
        self.log("train/loss", out.loss.detach(), prog_bar=True)
        self.log_dict({f"train/{name}": value for name, value in out.logs.items()})
        self.log("train/feature_std", feature_std(out.features), prog_bar=True)
        return {"loss": out.loss, "features": out.features}

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Any = None,
    ) -> None:
        """Take the scheduled step, then move the teachers."""
        step = self.global_step  # 0-based index of the step about to be taken
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        for ema, student in self.teachers():
            ema.update(student, step, self.total_steps)
            self.log("train/ema_momentum", ema.momentum(step, self.total_steps))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Embed what rebuilds the encoder and what it has seen: plain values and tensors, no pickled objects."""
        super().on_save_checkpoint(checkpoint)
        ours = checkpoint.get("vssl", {})
        data = self.data
        videos = self.global_step * self.effective_batch
        budget = {"videos_seen": videos, "clips_seen": videos * data.clips_per_video, **ours.get("budget", {})}
        frozen = {name: spec for one in (*self.phases, {"frozen": self.frozen()}) for name, spec in _frozen(one)}
        if frozen:
            budget["frozen"] = ", ".join(frozen)
        budget["labels_used"] = self._labels_used()
        earlier = {"earlier": [phase["seen"] for phase in self.phases]} if self.phases else {}
        checkpoint["vssl"] = {
            "schema": 1,
            "seen": data.seen | earlier,
            "budget": _total(budget, self.phases[-1]["budget"]) if self.phases else budget,
            "phases": self.phases,
            "method": f"{type(self).__module__}.{type(self).__qualname__}",
            "backbone": self.backbone.spec(),
            "prefix": "backbone.",
            "frozen": frozen,
        }

    def _labels_used(self) -> str:
        """Labels that this run uses: of co-training's images, of its frozen networks."""
        images = self.data.seen.get("num_images", 0)
        used = [f"{images} labelled images"] if images else []
        used += [str(spec["init_args"].get("labels_used", UNKNOWN)) for spec in self.frozen().values()]
        return together(used)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A resumed run knows where it had started from, and sees what it saw.

        Raises:
            UserError: The videos or images are others: the record of what was seen would no longer be true.
        """
        ours = checkpoint["vssl"]
        self.phases = ours.get("phases", [])
        saw, sees = ours.get("seen") or {}, self.data.seen
        for name in ("dataset", "split", "subset", "manifest", "rows", "images"):
            if saw.get(name) != sees.get(name):
                rule = f"the checkpoint was trained on another {name} ({saw.get(name)}, here {sees.get(name)})"
                raise UserError("--ckpt_path", rule, "Continue with its own data, or start a new run with --init_from.")


def view_for(backbone: Backbone, *augment: Augment) -> View:
    """A view cut at the size, and normalised, as the encoder's card says."""
    card = backbone.input
    return View(augment, size=card.size, mean=card.mean, std=card.std)


def _frozen(phase: dict[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    """Frozen networks that a run, or what it started from, learnt from."""
    return phase.get("frozen", {}).items()


def _total(own: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What this run and those before it spent and used; what only they say stays said."""
    summed = {k: own[k] + before[k] for k in ("videos_seen", "clips_seen", "hours") if k in own and k in before}
    used = {"labels_used": together([before.get("labels_used", NO_LABELS), own["labels_used"]])}
    return before | own | summed | used


def together(used: Iterable[str]) -> str:
    """Labels of several sources in one phrase, each once."""
    named = dict.fromkeys(part for phrase in used for part in phrase.split(" + "))
    return " + ".join(part for part in named if part != NO_LABELS) or NO_LABELS


def feature_std(features: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """Mean per-dimension standard deviation of unit features times sqrt(D): about 1 when spread, 0 when collapsed."""
    unit = F.normalize(features.float(), dim=-1)
    return unit.std(dim=0, unbiased=False).mean() * features.shape[-1] ** 0.5
