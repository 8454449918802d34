"""VIVI's video level: how well one shot of a video is predicted from those before it, or their order is.

B videos, K shots, D feature width, P critic width. Scores are plain dot products: no norm, no temperature.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vssl.distributed import gather_with_gradient
from vssl.losses.contrastive import shot_prediction


@dataclass(frozen=True)
class Critic:
    """The prediction of shots; of "order" only `hidden` counts.

    Args:
        hidden: Width of the hidden layers and of the LSTM.
        out: Width of what is compared.
        negatives: "same_position": the same shot of the other videos; "all_positions": all their predicted shots.
        symmetric: K = 2: also predict the first shot from the second; mean of both.
    """

    hidden: int = 256
    out: int = 256
    negatives: Literal["same_position", "all_positions"] = "same_position"
    symmetric: bool = False


class PairCritic(nn.Module):
    """K = 2: g(e, e') = phi1(e) . phi2(e'), two MLPs of one hidden layer (vivi.md 2.2).

    Args:
        dim: D.
        hidden: Width of the hidden layers.
        out: P.
    """

    def __init__(self, dim: int, *, hidden: int, out: int) -> None:
        super().__init__()
        self.phi1, self.phi2 = phi(dim, hidden, out), phi(dim, hidden, out)

    def contexts(self, shots: Float[Tensor, "b k d"]) -> Float[Tensor, "b k p"]:
        """What is known after each shot."""
        return self.phi1(shots)

    def targets(self, shots: Float[Tensor, "b k d"]) -> Float[Tensor, "b k p"]:
        """What is to be predicted of each shot."""
        return self.phi2(shots)


class SequenceCritic(nn.Module):
    """K > 2: g(c_k, e') = (W c_k) . phi2(e'), c_k the output of an LSTM run over e_1 .. e_k (vivi.md 2.2).

    Args:
        dim: D.
        hidden: Width of the LSTM and of the hidden layer of phi2.
        out: P.
    """

    def __init__(self, dim: int, *, hidden: int, out: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, hidden, batch_first=True)
        self.project = nn.Linear(hidden, out, bias=False)
        self.phi2 = phi(dim, hidden, out)

    def contexts(self, shots: Float[Tensor, "b k d"]) -> Float[Tensor, "b k p"]:
        """What is known after each shot; row k depends on the shots up to k alone."""
        return self.project(self.lstm(shots)[0])

    def targets(self, shots: Float[Tensor, "b k d"]) -> Float[Tensor, "b k p"]:
        """What is to be predicted of each shot."""
        return self.phi2(shots)


class OrderCritic(nn.Module):
    """Whether the K shots of a video come forwards: an MLP of one hidden layer over their concatenation.

    This project's reading of a reader's note on the paper (vivi.md 2.2).

    Args:
        shots: K.
        dim: D.
        hidden: Width of the hidden layer.
    """

    def __init__(self, shots: int, dim: int, *, hidden: int) -> None:
        super().__init__()
        self.mlp = phi(shots * dim, hidden, 1)

    def forward(self, shots: Float[Tensor, "b k d"]) -> Float[Tensor, " b"]:
        """Logits of "forwards"."""
        return self.mlp(shots.flatten(1)).squeeze(-1)


VideoCritic = PairCritic | SequenceCritic | OrderCritic


def phi(dim: int, hidden: int, out: int) -> nn.Sequential:
    """Linear(dim, hidden) - ReLU - Linear(hidden, out): no batch norm."""
    return nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, out))


def critic_for(shots: int, dim: int, settings: Critic, *, order: bool) -> VideoCritic:
    """The critic of the paper for K shots of width D, or the one of their order."""
    if order:
        return OrderCritic(shots, dim, hidden=settings.hidden)
    kind = PairCritic if shots == 2 else SequenceCritic
    return kind(dim, hidden=settings.hidden, out=settings.out)


def video_loss(
    critic: VideoCritic, shots: Float[Tensor, "b k d"], settings: Critic
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """L_V: every shot but the first is predicted from those before it; mean over the K - 1 positions.

    An `OrderCritic` tells the shots of every video, as they are, from the same in reverse instead.

    Contexts are this rank's; targets are gathered over ranks, with gradient.

    Returns:
        The loss and the share of predictions whose own target scores highest.
    """
    if isinstance(critic, OrderCritic):
        return _order(critic, shots)
    contexts = critic.contexts(shots[:, :-1]).float()
    targets, offset = gather_with_gradient(critic.targets(shots[:, 1:]).float())
    loss, accuracy = _prediction(contexts, targets, offset, settings.negatives)
    if settings.symmetric:
        back, _ = gather_with_gradient(critic.targets(shots[:, :1]).float())
        other, hits = _prediction(critic.contexts(shots[:, 1:]).float(), back, offset, settings.negatives)
        loss, accuracy = (loss + other) / 2, (accuracy + hits) / 2
    return loss, accuracy


def _order(critic: OrderCritic, shots: Float[Tensor, "b k d"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Mean binary cross-entropy of both directions of every video."""
    forwards, backwards = critic(shots).float(), critic(shots.flip(1)).float()
    margins = torch.cat([forwards, -backwards])
    return F.softplus(-margins).mean(), (margins > 0).float().mean()


def _prediction(
    contexts: Float[Tensor, "b m p"], targets: Float[Tensor, "n m p"], offset: int, negatives: str
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    own = torch.arange(len(contexts), device=contexts.device) + offset
    positions = contexts.shape[1]
    loss, hits = contexts.new_zeros(()), contexts.new_zeros(())
    for k in range(positions):
        candidates, positive = targets[:, k], own
        scores = _scores(contexts[:, k], candidates)
        if negatives == "all_positions":
            positive = own * positions + k
            scores = _scores(contexts[:, k], targets.flatten(0, 1))
            column = torch.arange(scores.shape[1], device=own.device)
            siblings = (column // positions == own[:, None]) & (column % positions != k)
            scores = scores.masked_fill(siblings, -torch.inf)
        loss = loss + shot_prediction(scores, positive) / positions
        hits = hits + (scores.argmax(-1) == positive).float().mean() / positions
    return loss, hits


def _scores(contexts: Float[Tensor, "b p"], targets: Float[Tensor, "n p"]) -> Float[Tensor, "b n"]:
    """Dot products, in full precision: nothing keeps them small."""
    with torch.autocast(contexts.device.type, enabled=False):
        return contexts @ targets.T
