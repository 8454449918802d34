"""A teacher that follows its student by an exponential moving average."""

import copy
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import torch
from torch import nn

from vssl.errors import UserError
from vssl.schedules import cosine

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Momentum:
    """EMA momentum m of `teacher <- m * teacher + (1 - m) * student`, as a function of the step.

    Args:
        base: Momentum at step 0.
        schedule: "cosine" rises to 1 at the last step (BYOL: 1 - (1 - base) (1 + cos(pi t / T)) / 2); "constant" stays.
    """

    base: float = 0.99
    schedule: Literal["cosine", "constant"] = "cosine"

    def __post_init__(self) -> None:
        if not 0.0 <= self.base <= 1.0:
            raise UserError(f"momentum.base={self.base}", "an EMA momentum lies in [0, 1]", "Try 0.99.")

    def __call__(self, step: int, total: int) -> float:
        """Momentum at the 0-based `step` of `total`."""
        return self.base if self.schedule == "constant" else cosine(step, total, start=self.base, end=1.0)


class Ema(nn.Module, Generic[M]):
    """Holds the teacher: a copy of the student without gradient, called as `ema.teacher(...)` under no_grad.

    Only parameters are averaged. The teacher follows the train / eval mode of the method that owns it, and its batch
    norm statistics come from its own forward passes (VITO and auxSKD both want that).
    """

    def __init__(self, student: M, momentum: Momentum) -> None:
        super().__init__()
        self.momentum = momentum
        self.teacher: M = copy.deepcopy(student)
        self.teacher.requires_grad_(False)

    def restart(self, student: nn.Module) -> None:
        """Become the student's copy again, buffers included, as when it was built."""
        self.teacher.load_state_dict(student.state_dict())

    @torch.no_grad()
    def update(self, student: nn.Module, step: int, total: int) -> None:
        """Move the teacher towards the student; call after the optimizer step of the 0-based `step`."""
        weight = 1.0 - self.momentum(step, total)
        for mine, theirs in zip(self.teacher.parameters(), student.parameters(), strict=True):
            mine.lerp_(theirs.detach(), weight)
