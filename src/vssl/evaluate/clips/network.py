"""An encoder and its classifier, and how they are trained.

B clips, T frames, D channels of the last map, L its locations over time and space, C classes.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vssl.backbones.base import Backbone, Input
from vssl.distributed import rank
from vssl.evaluate.controls import norms
from vssl.evaluate.features import VIEW, standardise
from vssl.evaluate.protocol import Protocol
from vssl.optim import Optim
from vssl.scheduled import ScheduledModule
from vssl.seeds import seed_of
from vssl.types import Batch
from vssl.views.photometry import photometry


class AttentiveHead(nn.Module):
    """One query attends to all locations of a map, then a linear classifier (as V-JEPA's probe, with one block).

        t = LayerNorm(locations),   y = q + Attention(q, t, t),   y <- y + MLP(LayerNorm(y)),   logits = W LayerNorm(y)

    Locations carry no position but what the encoder has put in them. Heads: the largest power of 2 up to 8 that
    divides D; the MLP is D -> 4 D -> D with GELU.

    Args:
        dim: D.
        num_classes: C.
        dropout: Before W.
    """

    def __init__(self, dim: int, num_classes: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(1, 1, dim))
        nn.init.trunc_normal_(self.query, std=0.02)
        self.norm = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, math.gcd(8, dim), batch_first=True)
        self.mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.classifier = nn.Sequential(nn.LayerNorm(dim), nn.Dropout(dropout), nn.Linear(dim, num_classes))

    def forward(self, maps: Float[Tensor, "b d t h w"]) -> Float[Tensor, "b c"]:
        """Logits."""
        locations = self.norm(maps.flatten(2).transpose(1, 2))
        query = self.query.expand(len(maps), -1, -1)
        y = query + self.attention(query, locations, locations, need_weights=False)[0]
        y = y + self.mlp(y)
        return self.classifier(y[:, 0])


class Network(nn.Module):
    """An encoder with a classifier on it.

    Args:
        backbone: Is trained in place, or left as it is, buffers included.
        protocol: Says which head, and what of the encoder moves.
        num_classes: C.
    """

    def __init__(self, backbone: Backbone, protocol: Protocol, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.frozen = protocol["frozen.trainable"] == "head"
        self.fixed_norms = protocol["frozen.batch_norm"] == "eval"
        self.attentive = protocol["head.layers"] == "attentive"
        dropout = protocol["head.dropout"]
        if self.attentive:
            self.head: nn.Module = AttentiveHead(backbone.map_dims[-1], num_classes, dropout=dropout)
        else:
            self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(backbone.dim, num_classes))
        self.backbone.requires_grad_(not self.frozen)

    def forward(self, x: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b c"]:
        """Logits of clips as the encoder's card wants them."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            seen = self.backbone.maps(x)[-1] if self.attentive else self.backbone(x)
        return self.head(seen)

    def train(self, mode: bool = True) -> "Network":
        """As any module; a frozen encoder, or its batch norms alone, stay in eval mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        if self.fixed_norms:
            for norm in norms(self.backbone):
                norm.eval()
        return self


class Training(ScheduledModule):
    """Cross-entropy of labelled clips, one optimizer, a schedule that is a function of the step.

    Args:
        net: What is trained.
        card: Input of its encoder.
        optim: Optimizer and schedule.
    """

    def __init__(self, net: Network, card: Input, optim: Optim) -> None:
        super().__init__(optim)
        self.net, self.card = net, card

    def on_train_epoch_start(self) -> None:
        """Lightning leaves every module in the mode it was built in: what stays in eval mode is the network's word."""
        self.net.train()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean cross-entropy of a batch of one clip per video."""
        torch.manual_seed(seed_of(self.seed, "step", self.global_step, batch_idx, rank()))
        with torch.autocast(self.device.type, enabled=False):
            clips = photometry(batch.views[VIEW].float().div_(255.0), batch.params.get(VIEW, {}))
            clips = standardise(clips.flatten(0, 1), self.card)
        logits = self.net(clips)
        loss = F.cross_entropy(logits.float(), batch.label)
        self.log("train/loss", loss.detach())
        self.log("train/top1", 100 * (logits.argmax(-1) == batch.label).float().mean())
        return loss


def optim(protocol: Protocol) -> Optim:
    """The protocol's optimizer and schedule; lengths in epochs."""
    names = ("lr", "schedule", "warmup", "weight_decay", "gamma")
    given = {name: protocol.fields.get(f"optimisation.{name}") for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    milestones = tuple(protocol.fields.get("optimisation.milestones", ()))
    return Optim(name=protocol["optimisation.optimiser"], milestones=milestones, **given)
