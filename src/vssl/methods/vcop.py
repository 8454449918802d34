"""VCOP: video clip order prediction (Xu et al., CVPR 2019; docs/methods/vcop.md)."""

from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vssl.backbones.base import Backbone
from vssl.losses.pretext import clip_order
from vssl.methods.base import Method, view_for
from vssl.optim import Optim
from vssl.types import Batch, StepOutput
from vssl.views.augment import Augment
from vssl.views.plan import Recipe
from vssl.views.pretexts import ShuffledClips

AUGMENT = Augment(crop="fixed", flip=0.0)
OPTIM = Optim(name="sgd", lr=1e-3, momentum=0.9, weight_decay=5e-4, schedule="constant")


class OrderHead(nn.Module):
    """Features of V clips to logits of the V! orders: every pair through one shared layer, all pairs through another.

    Args:
        dim: D.
        clips: V.
        orders: V!.
        hidden: Width of the shared layer.
        dropout: Before the last layer.
    """

    def __init__(self, dim: int, *, clips: int, orders: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.pairs = list(combinations(range(clips), 2))
        self.pair = nn.Sequential(nn.Linear(2 * dim, hidden), nn.ReLU(inplace=True))
        self.order = nn.Sequential(nn.Dropout(dropout), nn.Linear(len(self.pairs) * hidden, orders))

    def forward(self, features: Float[Tensor, "b v d"]) -> Float[Tensor, "b orders"]:
        """Pairs (0, 1), (0, 2), (1, 2), ... of the clips as shown."""
        pairs = [self.pair(features[:, [i, j]].flatten(1)) for i, j in self.pairs]
        return self.order(torch.cat(pairs, dim=1))


class VCOP(Method):
    """Predict the order in time of clips that are shown shuffled.

        loss = CE(order), V! orders   (auxskd.md 3.3)

    Args:
        backbone: A 3-D encoder.
        views: Which frames; videos too short for them are left out.
        augment: Official: a crop per clip from 128 x 171, nothing else.
        optim: Official: SGD, 1e-3, weight decay 5e-4, constant.
        hidden: Width of the layer shared by all pairs.
        dropout: Before the last layer.
        copies: How often an epoch lists each video.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        views: ShuffledClips = ShuffledClips(),
        augment: Augment = AUGMENT,
        optim: Optim = OPTIM,
        hidden: int = 512,
        dropout: float = 0.5,
        copies: int = 1,
    ) -> None:
        super().__init__(backbone, optim)
        self.recipe = Recipe(views, {"clips": view_for(backbone, augment)}, copies=copies)
        orders = len(views.orders)
        self.head = OrderHead(backbone.dim, clips=views.clips, orders=orders, hidden=hidden, dropout=dropout)

    def step(self, batch: Batch) -> StepOutput:
        """Cross-entropy and accuracy."""
        clips = self.view(batch, "clips")  # (B, V, T, C, H, W)
        features = self.backbone(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])  # (B, V, D)
        logits = self.head(features).float()
        accuracy = (logits.detach().argmax(-1) == batch.targets["order"]).float().mean()
        return StepOutput(
            clip_order(logits, batch.targets["order"]), {"order_accuracy": accuracy}, features.detach().mean(1)
        )
