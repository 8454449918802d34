"""Colour, batched on the device, from numbers drawn in the worker.

Jitter and greyscale are affine in colour, so a whole chain of them in any order is one 3 x 3 matrix and one offset per
frame, and one pass over the pixels instead of four (0.036 s against 0.36 s for 24 clips of 16 x 44 x 44 on a CPU). Two
named deviations from chains of separate operations: values are clamped once, after the chain, and hue is a rotation of
the chroma plane (YIQ) instead of an HSV shift.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)
_TO_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


def photometry(x: Float[Tensor, "b v t 3 h w"], params: dict[str, Tensor]) -> Float[Tensor, "b v t 3 h w"]:
    """Apply drawn photometry to pixels in [0, 1]: HSV noise; then jitter, greyscale, blur, solarise, in BYOL's order.

    Args:
        x: The view, in [0, 1].
        params: As `draw_photometry` makes them, batched: each (B, V, T or 1, ...).
    """
    if "hsv" in params:
        x = hsv_noise(x, params["hsv"])
    if "order" in params or "grey" in params:
        matrix, offset = color_affine(x.mean(dim=(-2, -1)), params)
        flat = x.flatten(-2).flatten(0, 2)  # (B V T, 3, H W)
        flat = torch.baddbmm(offset.flatten(0, 2).unsqueeze(-1), matrix.flatten(0, 2), flat)
        x = flat.clamp_(0.0, 1.0).view(x.shape)
    if "sigma" in params:
        x = blur(x, params["sigma"])
    if "solarise" in params:
        flag = params["solarise"][..., None, None, None]
        x = torch.where(flag & (x >= 0.5), 1.0 - x, x)
    return x


def color_affine(
    mean: Float[Tensor, "b v t 3"], params: dict[str, Tensor]
) -> tuple[Float[Tensor, "b v t 3 3"], Float[Tensor, "b v t 3"]]:
    """The matrix and offset that jitter (in its drawn order) and then greyscale amount to.

    Args:
        mean: Mean colour of every frame; contrast pivots on it, and the mean of an affine map is the map of the mean.
        params: As `draw_photometry` makes them, batched.
    """
    grey = mean.new_tensor(GREY)
    eye = torch.eye(3, dtype=mean.dtype, device=mean.device)
    matrix, offset = eye.expand(*mean.shape, 3), torch.zeros_like(mean)
    if "order" in params:
        steps = _operations(params["color"].to(mean.dtype), params["style"], eye, grey)
        for place in range(4):
            chosen = params["order"][..., place]  # (B, V, T or 1): which operation comes now
            now = (matrix @ mean.unsqueeze(-1)).squeeze(-1) + offset
            byol = params["style"].unsqueeze(-1)
            pivot = torch.where(byol, now, (now * grey).sum(-1, keepdim=True).expand_as(now))
            m, shift, lean = (_pick(op, chosen) for op in steps)
            matrix, offset = m @ matrix, (m @ offset.unsqueeze(-1)).squeeze(-1) + shift + lean * pivot
    if "grey" in params:
        to_grey = grey.expand(3, 3)
        m = torch.where(params["grey"][..., None, None], to_grey, eye)
        matrix, offset = m @ matrix, (m @ offset.unsqueeze(-1)).squeeze(-1)
    return matrix.expand(*mean.shape, 3), offset.expand(mean.shape)


def hsv_noise(x: Float[Tensor, "b v t 3 h w"], noise: Float[Tensor, "b v tt 7"]) -> Float[Tensor, "b v t 3 h w"]:
    """H <- H + a mod 1;  S <- S^b c + d,  V <- V^e f + g, both cut to [0, 1]; (a, ..., g) are a frame's 7 numbers.

    Pixels outside [0, 1] are cut first.
    """
    hue, saturation, value = _to_hsv(x.clamp(0.0, 1.0))
    a, b, c, d, e, f, g = (n[..., None, None] for n in noise.to(x.dtype).unbind(-1))
    saturation = (saturation**b * c + d).clamp_(0.0, 1.0)
    value = (value**e * f + g).clamp_(0.0, 1.0)
    return _from_hsv((hue + a) % 1.0, saturation, value)


def _to_hsv(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """RGB (.., 3, h, w) to hue in turns, saturation and value, each (.., h, w)."""
    red, green, blue = x.unbind(-3)
    value, least = x.amax(-3), x.amin(-3)
    spread = value - least
    safe = torch.where(spread > 0, spread, 1.0)
    by_green, by_blue = 2 + (blue - red) / safe, 4 + (red - green) / safe
    sextant = torch.where(value == red, (green - blue) / safe, torch.where(value == green, by_green, by_blue))
    saturation = spread / torch.where(value > 0, value, 1.0)
    return (sextant / 6) % 1.0, saturation, value


def _from_hsv(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """The inverse of `_to_hsv`: channel n is V - V S max(0, min(k, 4 - k, 1)), k = (n + 6 H) mod 6, n = 5, 3, 1."""
    channels = []
    for n in (5, 3, 1):
        k = (n + 6 * hue) % 6
        channels.append(value - value * saturation * torch.minimum(k, 4 - k).clamp_(0.0, 1.0))
    return torch.stack(channels, dim=-3)


def _operations(color: Tensor, style: Tensor, eye: Tensor, grey: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Matrix (.., 4, 3, 3), constant shift (.., 4, 1) and weight of the pivot (.., 4, 1) of the four operations."""
    b, c, s, h = color.unbind(-1)
    byol = style.expand(b.shape)
    zero = torch.zeros_like(b)
    yiq = torch.tensor(_TO_YIQ, dtype=color.dtype, device=color.device)
    cos, sin = torch.cos(2 * math.pi * h), torch.sin(2 * math.pi * h)
    one = torch.ones_like(cos)
    rows = [one, zero, zero, zero, cos, -sin, zero, sin, cos]
    turn = torch.stack(rows, -1).unflatten(-1, (3, 3))
    hue = torch.linalg.inv(yiq) @ turn @ yiq
    scale = torch.where(byol, one, 1 + b)[..., None, None] * eye
    contrast = (1 + c)[..., None, None] * eye
    saturation = (1 + s)[..., None, None] * eye - s[..., None, None] * grey.expand(3, 3)
    matrices = torch.stack([scale, contrast, saturation, hue], dim=-3)
    shifts = torch.stack([torch.where(byol, b, zero), zero, zero, zero], dim=-1).unsqueeze(-1)
    leans = torch.stack([zero, -c, zero, zero], dim=-1).unsqueeze(-1)
    return matrices, shifts, leans


def _pick(options: Tensor, chosen: Tensor) -> Tensor:
    """Select from options (.., 4, *rest) at chosen (..): (.., *rest)."""
    rest = options.shape[chosen.dim() + 1 :]
    index = chosen.reshape(*chosen.shape, 1, *[1] * len(rest)).expand(*chosen.shape, 1, *rest)
    return options.gather(chosen.dim(), index).squeeze(chosen.dim())


def blur(x: Float[Tensor, "b v t 3 h w"], sigma: Float[Tensor, "b v tt"]) -> Float[Tensor, "b v t 3 h w"]:
    """Separable Gaussian blur, a matrix product per axis; sigma 0 leaves a frame as it is.

    The kernel has 2 * int(size / 10 / 2) + 1 taps (23 at 224 px); at the border the kernel is cut and renormalised.
    """
    weights = blur_matrix(sigma, x.shape[-1]).to(x.dtype).unsqueeze(3)  # (B, V, T or 1, 1, S, S)
    return weights @ x @ weights.transpose(-1, -2)


def blur_matrix(sigma: Float[Tensor, "b v tt"], size: int) -> Float[Tensor, "b v tt s s"]:
    """Row-stochastic banded matrices that blur `size` pixels by `sigma`."""
    place = torch.arange(size, device=sigma.device, dtype=torch.float32)
    distance = place[:, None] - place
    kernel = torch.exp(-distance.square() / (2 * sigma.clamp_min(1e-3).float().square()[..., None, None]))
    kernel = kernel * (distance.abs() <= blur_radius(size))
    return kernel / kernel.sum(-1, keepdim=True)


def blur_radius(size: int) -> int:
    """Half width of the blur's kernel: BYOL's int(size / 10 / 2)."""
    return int(size / 10 / 2)
