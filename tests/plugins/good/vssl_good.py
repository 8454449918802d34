"""A third party's method: predict one frame's feature from another's through dropout."""

from torch import nn
from torch.nn import functional as F

from vssl import Backbone, Method, Recipe
from vssl.optim import Optim
from vssl.types import Batch, StepOutput
from vssl.views import Augment, View, WindowFrames

OPTIM = Optim(name="sgd", lr=0.05, schedule="constant")


class Dropper(Method):
    def __init__(self, backbone: Backbone, *, dropout: float = 0.5, optim: Optim = OPTIM) -> None:
        super().__init__(backbone, optim)
        card = backbone.input
        view = View((Augment(jitter=0.5),), size=card.size, mean=card.mean, std=card.std)
        self.recipe = Recipe(WindowFrames(views=2), {"frames": view})
        self.predict = nn.Sequential(nn.Dropout(dropout), nn.Linear(backbone.dim, backbone.dim))

    def step(self, batch: Batch) -> StepOutput:
        frames = self.view(batch, "frames")
        features = self.backbone(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        loss = F.mse_loss(self.predict(features[:, 0]), features[:, 1])
        return StepOutput(loss, {}, features.detach().mean(1))
