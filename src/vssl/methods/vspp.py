"""VSPP: video segment pace prediction (Dadashzadeh et al., CVPRW 2022; docs/methods/vspp.md)."""

from typing import Literal

from torch import nn

from vssl.backbones.base import Backbone
from vssl.losses.pretext import pace, segment
from vssl.methods.base import Method, view_for
from vssl.optim import Optim
from vssl.types import Batch, StepOutput
from vssl.views.augment import Augment
from vssl.views.plan import Recipe
from vssl.views.samplers import PacedClips

AUGMENT = Augment(
    crop="fixed", jitter=0.8, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, per_frame="photometry"
)
OPTIM = Optim(
    name="sgd", lr=1e-3, momentum=0.9, weight_decay=5e-3, schedule="steps", milestones=(6, 12), gamma=0.1, unit="epoch"
)


class VSPP(Method):
    """Predict at which pace, and in which segment of the clip, the video was sped up.

        loss = CE(pace) + CE(segment), two independent linear heads on the pooled feature   (auxskd.md 3.2)

    Paper's and PECoP's options of the clips (inclusive end, wrap, natural pace) are those of `PacedClips`.

    Args:
        backbone: A 3-D encoder.
        views: Which frames.
        augment: Official: resize to 128 x 171, one random crop and flip per clip, jitter drawn per frame.
        optim: Official: SGD, 1e-3, weight decay 5e-3 on everything, times 0.1 every 6 of 18 epochs.
        heads: "speed" predicts the pace alone, "segment" the segment alone.
        copies: How often an epoch lists each video (official: 10 on UCF101, 1 on Kinetics-100).
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        views: PacedClips = PacedClips(),
        augment: Augment = AUGMENT,
        optim: Optim = OPTIM,
        heads: Literal["both", "speed", "segment"] = "both",
        copies: int = 1,
    ) -> None:
        super().__init__(backbone, optim)
        self.recipe = Recipe(views, {"clips": view_for(backbone, augment)}, copies=copies)
        self.pace = nn.Linear(backbone.dim, views.paces) if heads != "segment" else None
        self.segment = nn.Linear(backbone.dim, views.segments) if heads != "speed" else None

    def step(self, batch: Batch) -> StepOutput:
        """Cross-entropy and accuracy of every head."""
        clips = self.view(batch, "clips")  # (B, V, T, C, H, W)
        features = self.backbone(clips.flatten(0, 1))  # (B V, D)
        loss, logs = features.new_zeros(()), {}
        for name, head, cross_entropy in (("pace", self.pace, pace), ("segment", self.segment, segment)):
            if head is not None:
                logits, labels = head(features).float(), batch.targets[name].flatten()
                loss = loss + cross_entropy(logits, labels)
                logs[f"{name}_accuracy"] = (logits.detach().argmax(-1) == labels).float().mean()
        pooled = features.detach().unflatten(0, clips.shape[:2]).mean(1)
        return StepOutput(loss, logs, pooled)
