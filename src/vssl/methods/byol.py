"""rho-BYOL between the clips of a video, as a second branch of another method (iBoot's `ema_video`)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vssl.backbones.base import Backbone
from vssl.ema import Ema, Momentum
from vssl.heads import mlp
from vssl.losses.regression import cosine_regression
from vssl.methods.targets import pairs


@dataclass(frozen=True)
class EmaVideo:
    """The optional second branch: BYOL between the clips of a video, rho-BYOL, on a head of its own.

    Args:
        weight: Of its loss; 0: there is none.
        hidden: Hidden width of projector and predictor.
        out: Their output width.
        momentum: Of the teacher.
    """

    weight: float = 0.0
    hidden: int = 4096
    out: int = 256
    momentum: Momentum = Momentum(base=0.996)


class Byol(nn.Module):
    """rho-BYOL: every clip predicts the EMA teacher's projection of the video's other clips."""

    def __init__(self, backbone: Backbone, settings: EmaVideo) -> None:
        super().__init__()
        self.weight = settings.weight
        self.project = mlp(backbone.dim, settings.hidden, settings.out)
        self.predict = mlp(settings.out, settings.hidden, settings.out)
        self.teacher_backbone = Ema(backbone, settings.momentum)
        self.teacher_project = Ema(self.project, settings.momentum)

    def forward(self, features: Float[Tensor, "b v d"], clips: Float[Tensor, "b v t 3 h w"]) -> Float[Tensor, ""]:
        """Mean of 2 - 2 cos over all ordered pairs of clips."""
        online, own = pairs(features.shape[1], "cross")
        predicted = self.predict(self.project(features.flatten(0, 1))).unflatten(0, features.shape[:2])
        with torch.no_grad():
            seen = torch.stack([self.teacher_backbone.teacher(c) for c in clips.unbind(1)], 1)
            wanted = self.teacher_project.teacher(seen.flatten(0, 1)).unflatten(0, features.shape[:2])
        return cosine_regression(predicted[:, online].flatten(0, 1).float(), wanted[:, own].flatten(0, 1).float())
