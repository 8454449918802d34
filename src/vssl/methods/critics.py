"""VIVI's critics: how well one shot of a video is predicted from those before it.

B videos, K shots, D feature width, P critic width. Scores are plain dot products: no norm, no temperature.
"""

from jaxtyping import Float
from torch import Tensor, nn


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


def phi(dim: int, hidden: int, out: int) -> nn.Sequential:
    """Linear(dim, hidden) - ReLU - Linear(hidden, out): no batch norm."""
    return nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, out))


def critic_for(shots: int, dim: int, *, hidden: int, out: int) -> PairCritic | SequenceCritic:
    """The critic of the paper for K shots."""
    return PairCritic(dim, hidden=hidden, out=out) if shots == 2 else SequenceCritic(dim, hidden=hidden, out=out)
