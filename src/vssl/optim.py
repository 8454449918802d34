"""One optimizer description for all methods, and LARS."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from vssl.errors import UserError
from vssl.schedules import warmup_cosine, warmup_into_cosine, warmup_steps

logger = logging.getLogger(__name__)

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class Optim:
    """Optimizer and learning-rate schedule of a method.

    Args:
        name: Optimizer.
        lr: Learning rate; peak of the schedule.
        reference_batch: The learning rate is multiplied by (global batch / reference_batch); None: never scaled.
        momentum: Of SGD and LARS.
        weight_decay: L2 (SGD, Adam, LARS) or decoupled (AdamW).
        no_decay: Parameters left out of weight decay (and of LARS' trust ratio).
        schedule: After the warm-up. "cosine" starts at the peak where the warm-up ends; "cosine_whole" spans the whole
            run, and the warm-up rises to its value there (PySlowFast).
        warmup: Length of the linear warm-up in `unit`.
        warmup_from: Factor at step 0.
        milestones: For "steps", in `unit`.
        gamma: For "steps": factor at each milestone.
        floor: For the cosines: factor at the end.
        unit: Of warmup and milestones.
    """

    name: Literal["sgd", "adam", "adamw", "lars"] = "sgd"
    lr: float = 0.1
    reference_batch: int | None = None
    momentum: float = 0.9
    weight_decay: float = 1e-4
    no_decay: Literal["none", "norm_and_bias"] = "none"
    schedule: Literal["constant", "cosine", "cosine_whole", "steps"] = "cosine"
    warmup: float = 0.0
    warmup_from: float = 0.0
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1
    floor: float = 0.0
    unit: Literal["step", "epoch"] = "epoch"

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise UserError(f"optim.lr={self.lr}", "the learning rate is positive", "Try 0.1.")
        if self.schedule == "steps" and not self.milestones:
            raise UserError("optim.schedule=steps", "needs milestones", "Set optim.milestones, e.g. [6, 12].")

    def build(self, module: nn.Module) -> Optimizer:
        """The optimizer over every trainable parameter of `module`, each exactly once."""
        decay, plain = self._split(module)
        groups: list[dict[str, Any]] = [
            {"params": params, "weight_decay": wd, "adapt": adapt}
            for params, wd, adapt in ((decay, self.weight_decay, True), (plain, 0.0, False))
            if params
        ]
        if self.name == "lars":
            return LARS(groups, lr=self.lr, momentum=self.momentum)
        for group in groups:
            del group["adapt"]
        if self.name == "sgd":
            return SGD(groups, lr=self.lr, momentum=self.momentum)
        return (Adam if self.name == "adam" else AdamW)(groups, lr=self.lr)

    def _split(self, module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        trainable = [p for p in module.parameters() if p.requires_grad]
        exempt: set[int] = set()
        if self.no_decay == "norm_and_bias":
            norms = (p for m in module.modules() if isinstance(m, _NORMS) for p in m.parameters(recurse=False))
            biases = (p for name, p in module.named_parameters() if name.rpartition(".")[2] == "bias")
            exempt = {id(p) for group in (norms, biases) for p in group}
        decay = [p for p in trainable if id(p) not in exempt]
        plain = [p for p in trainable if id(p) in exempt]
        assert len(decay) + len(plain) == len({id(p) for p in trainable})
        return decay, plain

    def lr_at(self, step: int, *, total: int, steps_per_epoch: int, batch: int) -> float:
        """Learning rate of the 0-based optimizer `step`: a pure function, so a resume cannot get it wrong."""
        lr = self.lr if self.reference_batch is None else self.lr * batch / self.reference_batch
        unit = steps_per_epoch if self.unit == "epoch" else 1
        warmup = min(self.warmup * unit, total)
        if self.schedule in ("cosine", "cosine_whole"):
            factor = warmup_cosine if self.schedule == "cosine" else warmup_into_cosine
            return lr * factor(step, total, warmup=warmup, start=self.warmup_from, floor=self.floor)
        milestones = tuple(m * unit for m in self.milestones) if self.schedule == "steps" else ()
        return lr * warmup_steps(step, milestones, gamma=self.gamma, warmup=warmup, start=self.warmup_from)

    def warmup_is_cut(self, *, total: int, steps_per_epoch: int) -> bool:
        """Whether the warm-up is as long as the run or longer."""
        return self.warmup * (steps_per_epoch if self.unit == "epoch" else 1) >= total > 0 and self.warmup > 0


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling, in DetCon's order (docs/methods/vito.md).

        g <- g + wd p;   u <- g eta |p| / |g|  (1 where a norm is 0);   mu <- m mu + u;   p <- p - lr mu

    Groups with `adapt=False` (norms and biases) skip the trust ratio; momentum accumulates before the learning rate.
    """

    def __init__(
        self, params: Iterable[Any], *, lr: float, momentum: float = 0.9, weight_decay: float = 0.0, eta: float = 1e-3
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "eta": eta, "adapt": True}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One update; see the class."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, group)
        return loss

    def _update(self, p: Tensor, group: dict[str, Any]) -> None:
        grad = p.grad + group["weight_decay"] * p if group["weight_decay"] else p.grad
        assert grad is not None
        if group["adapt"]:
            p_norm, g_norm = p.norm(), grad.norm()
            ratio = torch.where((p_norm > 0) & (g_norm > 0), group["eta"] * p_norm / g_norm, torch.ones_like(p_norm))
            grad = grad * ratio
        state = self.state[p]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p)
        momentum = state["momentum_buffer"]
        momentum.mul_(group["momentum"]).add_(grad)
        p.sub_(group["lr"] * momentum)
