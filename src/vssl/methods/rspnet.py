"""RSPNet: relative speed perception and appearance (Chen et al., AAAI 2021; docs/methods/rspnet.md)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vssl.backbones.base import Backbone
from vssl.bank import Bank
from vssl.distributed import gather
from vssl.ema import Ema, Momentum
from vssl.losses.speed import appearance, relative_speed
from vssl.methods.base import Method, view_for
from vssl.optim import Optim
from vssl.types import Batch, StepOutput
from vssl.views.augment import Augment
from vssl.views.plan import Recipe
from vssl.views.pretexts import SpeedPairs, at_speed

AUGMENT = Augment(scale=(0.4, 1.0), jitter=1.0, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.4, grey=0.2)
OPTIM = Optim(name="sgd", lr=0.05, weight_decay=1e-4, schedule="cosine", floor=1e-3)


class Heads(nn.Module):
    """Two linear layers on the pooled feature: one embedding for appearance, one for motion."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.appearance = nn.Linear(dim, out)
        self.motion = nn.Linear(dim, out)

    def forward(self, features: Float[Tensor, "b d"]) -> tuple[Float[Tensor, "b p"], Float[Tensor, "b p"]]:
        """Both, of unit length and in full precision: a temperature of 0.07 does not forgive half precision."""
        a, m = self.appearance(features).float(), self.motion(features).float()
        return F.normalize(a, dim=-1), F.normalize(m, dim=-1)


class RSPNet(Method):
    """A query clip, a key clip at its speed (k), and the same key clip at the other speed (k').

        loss = appearance(q_A, k_A, k'_A | bank) + relative_speed(q_M, k_M, k'_M)   (auxskd.md 3.3)

    Keys come from an EMA teacher; the bank holds the last k'_A of all ranks.

    Args:
        backbone: A 3-D encoder.
        views: Which frames.
        augment: Official; drawn per clip, the same for k and k'.
        optim: Official: SGD, 0.05 at batch 32, cosine to a thousandth, 200 epochs.
        out: Width of both embeddings.
        bank_size: Rows of the bank; a multiple of the global batch.
        temperature: Of both tasks.
        margin: Of the motion task.
        momentum: Of the teacher.
        copies: How often an epoch lists each video.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        views: SpeedPairs = SpeedPairs(),
        augment: Augment = AUGMENT,
        optim: Optim = OPTIM,
        out: int = 128,
        bank_size: int = 16384,
        temperature: float = 0.07,
        margin: float = 2.0,
        momentum: Momentum = Momentum(0.999, "constant"),
        copies: int = 1,
    ) -> None:
        super().__init__(backbone, optim)
        view = view_for(backbone, augment)
        self.recipe = Recipe(sampler=views, views={"query": view, "key": view}, copies=copies)
        self.heads = Heads(backbone.dim, out)
        self.teacher_backbone = Ema(backbone, momentum)
        self.teacher_heads = Ema(self.heads, momentum)
        self.bank = Bank(bank_size, out)
        self.temperature, self.margin = temperature, margin

    def teachers(self) -> list[tuple[Ema, nn.Module]]:
        """Encoder and both heads have a teacher copy."""
        return [(self.teacher_backbone, self.backbone), (self.teacher_heads, self.heads)]

    def step(self, batch: Batch) -> StepOutput:
        """Both tasks against the bank as it was before this batch, then the batch's keys go in."""
        fast, key = batch.targets["fast"], self.view(batch, "key")[:, 0]  # (B,), (B, 1.5 T, C, H, W)
        bank = self.bank.rows.clone()  # the keys of this batch go in before the backward pass
        features = self.backbone(self.view(batch, "query")[:, 0])  # (B, D)
        q_a, q_m = self.heads(features)
        with torch.no_grad():
            same_a, same_m = self._keys(at_speed(key, fast))
            other_a, other_m = self._keys(at_speed(key, ~fast))
        with torch.autocast(self.device.type, enabled=False):
            what = appearance(q_a, same_a, other_a, bank, temperature=self.temperature)
            speed = relative_speed(q_m, same_m, other_m, temperature=self.temperature, margin=self.margin)
            above = (q_a * same_a).sum(-1) > (q_a @ bank.T).amax(-1)
        if self.training:
            self.bank.put(gather(other_a)[0])
        faster = (q_m * (same_m - other_m)).sum(-1) > 0
        logs = {"appearance": what, "motion": speed}
        logs |= {"appearance_accuracy": above.float().mean(), "motion_accuracy": faster.float().mean()}
        return StepOutput(what + speed, {name: value.detach() for name, value in logs.items()}, features.detach())

    def _keys(self, clips: Float[Tensor, "b t 3 h w"]) -> tuple[Float[Tensor, "b p"], Float[Tensor, "b p"]]:
        return self.teacher_heads.teacher(self.teacher_backbone.teacher(clips))
