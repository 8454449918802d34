"""VideoPace: at which pace a clip runs (Wang, Jiao, Liu, ECCV 2020; docs/methods/videopace.md)."""

from torch import nn

from vssl.backbones.base import Backbone
from vssl.losses.pretext import pace
from vssl.methods.base import Method, view_for
from vssl.methods.vspp import AUGMENT, OPTIM
from vssl.optim import Optim
from vssl.types import Batch, StepOutput
from vssl.views.augment import Augment
from vssl.views.plan import Recipe
from vssl.views.pretexts import WholePace


class VideoPace(Method):
    """Predict the pace of a clip.

        loss = CE(pace), a linear head on the pooled feature   (auxskd.md 3.3)

    Args:
        backbone: A 3-D encoder.
        views: Which frames.
        augment: Official, and VSPP's after it: one crop and flip per clip, jitter drawn per frame.
        optim: Official, and VSPP's after it: SGD, 1e-3, weight decay 5e-3, times 0.1 every 6 of 18 epochs.
        copies: How often an epoch lists each video (official: 10 on UCF101).
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        views: WholePace = WholePace(),
        augment: Augment = AUGMENT,
        optim: Optim = OPTIM,
        copies: int = 1,
    ) -> None:
        super().__init__(backbone, optim)
        self.recipe = Recipe(views, {"clips": view_for(backbone, augment)}, copies=copies)
        self.pace = nn.Linear(backbone.dim, views.paces)

    def step(self, batch: Batch) -> StepOutput:
        """Cross-entropy and accuracy."""
        clips = self.view(batch, "clips")  # (B, V, T, C, H, W)
        features = self.backbone(clips.flatten(0, 1))  # (B V, D)
        labels = batch.targets["pace"].flatten()
        logits = self.pace(features).float()
        accuracy = (logits.detach().argmax(-1) == labels).float().mean()
        pooled = features.detach().unflatten(0, clips.shape[:2]).mean(1)
        return StepOutput(pace(logits, labels), {"pace_accuracy": accuracy}, pooled)
