"""What several encoders share: frames in and out of the batch, the choice of scales, arguments of a card."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from vssl.errors import UserError


def unfold_frames(maps: Float[Tensor, "nt d h w"], frames: int) -> Float[Tensor, "n d t h w"]:
    """Maps of single frames, folded into the batch by `x.flatten(0, 1)`, as maps of clips of `frames` frames."""
    return maps.unflatten(0, (-1, frames)).transpose(1, 2)


def deepest(maps: Sequence[Tensor], last: int) -> tuple[Tensor, ...]:
    """The last `last` of all maps; `UserError` when there are not that many."""
    if not 1 <= last <= len(maps):
        raise UserError(
            f"last={last}", f"this encoder has feature maps at {len(maps)} scales", "Ask for 1 to that many."
        )
    return tuple(maps[-last:])


def triple(values: Sequence[float], name: str) -> list[float]:
    """One value per colour channel, as a list (a spec holds plain values); `UserError` unless there are three."""
    if len(values) != 3:
        raise UserError(f"{name}={list(values)}", "needs one value for each of the 3 colour channels")
    return [float(value) for value in values]


def as_floats(values: Sequence[float]) -> tuple[float, float, float]:
    """The list of a spec as the tuple of a card."""
    first, second, third = values
    return first, second, third


def whole(value: int, name: str) -> int:
    """`value`, which must be at least 1."""
    if value < 1:
        raise UserError(f"{name}={value}", "must be at least 1")
    return value
