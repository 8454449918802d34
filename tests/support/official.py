"""Networks of other code bases as name tables and plain functions of them: no module, no name map of ours.

Widths and names as read in their repositories (docs/import.md); values are drawn.
"""

import torch
import torch.nn.functional as F

R21D_MIDDLE = {1: (83,), 2: (144, 144), 3: (230, 288, 42), 4: (460, 576, 85), 5: (921, 1152, 170)}
"""Widths between space and time, per stage: of the two convolutions, then of the shortcut."""


class State(dict):
    """A state dict that grows: convolutions and batch norms of given shapes."""

    def __init__(self, seed=0):
        super().__init__()
        self.rng = torch.Generator().manual_seed(seed)

    def conv(self, name, after, before, kernel, bias=False):
        fan_in = before * kernel[0] * kernel[1] * kernel[2]
        self[f"{name}.weight"] = torch.randn(after, before, *kernel, generator=self.rng) * (2 / fan_in) ** 0.5
        if bias:
            self[f"{name}.bias"] = 0.1 * torch.randn(after, generator=self.rng)

    def norm(self, name, width):
        for part, low in (("weight", 0.5), ("bias", -0.5), ("running_mean", -0.5), ("running_var", 0.5)):
            self[f"{name}.{part}"] = low + torch.rand(width, generator=self.rng)
        self[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def linear(self, name, after, before):
        self[f"{name}.weight"] = torch.randn(after, before, generator=self.rng)
        self[f"{name}.bias"] = torch.randn(after, generator=self.rng)


def conv(state, name, x, stride=1, padding=0):
    return F.conv3d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), stride, padding)


def norm(state, name, x, eps=1e-5):
    parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *parts, eps=eps)


def residual_state(factored, seed=0):
    """VCOP's R2Plus1DNet or R3DNet with one block per stage."""
    state = State(seed)

    def unit(name, after, before, kernel, middle):
        if factored:
            state.conv(f"{name}.spatial_conv", middle, before, (1, *kernel[1:]))
            state.norm(f"{name}.bn", middle)
            state.conv(f"{name}.temporal_conv", after, middle, (kernel[0], 1, 1))
        else:
            state.conv(f"{name}.temporal_spatial_conv", after, before, kernel)

    unit("conv1", 64, 3, (3, 7, 7), 83)
    state.norm("bn1", 64)
    before = 64
    for stage, after in ((2, 64), (3, 128), (4, 256), (5, 512)):
        block, middle = f"conv{stage}.block1", R21D_MIDDLE[stage]
        unit(f"{block}.conv1", after, before, (3, 3, 3), middle[0])
        state.norm(f"{block}.bn1", after)
        unit(f"{block}.conv2", after, after, (3, 3, 3), middle[1])
        state.norm(f"{block}.bn2", after)
        if stage > 2:
            unit(f"{block}.downsampleconv", after, before, (1, 1, 1), middle[2])
            state.norm(f"{block}.downsamplebn", after)
        before = after
    return state


def residual(state, x, factored):
    """Features (N, 512) of clips (N, 3, T, H, W)."""

    def unit(name, x, stride, padding):
        if not factored:
            return conv(state, f"{name}.temporal_spatial_conv", x, stride, padding)
        space = conv(state, f"{name}.spatial_conv", x, (1, *stride[1:]), (0, *padding[1:]))
        space = norm(state, f"{name}.bn", space).relu()
        return conv(state, f"{name}.temporal_conv", space, (stride[0], 1, 1), (padding[0], 0, 0))

    x = norm(state, "bn1", unit("conv1", x, (1, 2, 2), (1, 3, 3))).relu()
    for stage in (2, 3, 4, 5):
        block, stride = f"conv{stage}.block1", (1, 1, 1) if stage == 2 else (2, 2, 2)
        out = norm(state, f"{block}.bn1", unit(f"{block}.conv1", x, stride, (1, 1, 1))).relu()
        out = norm(state, f"{block}.bn2", unit(f"{block}.conv2", out, (1, 1, 1), (1, 1, 1)))
        if stage > 2:
            x = norm(state, f"{block}.downsamplebn", unit(f"{block}.downsampleconv", x, stride, (0, 0, 0)))
        x = (x + out).relu()
    return x.mean(dim=(2, 3, 4))


C3D = (("1", 3, 64), ("2", 64, 128), ("3a", 128, 256), ("3b", 256, 256), ("4a", 256, 512), ("4b", 512, 512))
C3D += (("5a", 512, 512), ("5b", 512, 512))


def c3d_state(seed=0):
    """VCOP's C3D."""
    state = State(seed)
    for name, before, after in C3D:
        state.conv(f"conv{name}", after, before, (3, 3, 3), bias=True)
        state.norm(f"bn{name}", after)
    return state


def c3d(state, x):
    for name, _, _ in C3D:
        x = norm(state, f"bn{name}", conv(state, f"conv{name}", x, 1, 1)).relu()
        if name == "1":
            x = F.max_pool3d(x, (1, 2, 2))
        elif name in ("2", "3b", "4b"):
            x = F.max_pool3d(x, 2)
    return x.mean(dim=(2, 3, 4))


MIXED = {
    "3b": (192, 64, 96, 128, 16, 32, 32),
    "3c": (256, 128, 128, 192, 32, 96, 64),
    "4b": (480, 192, 96, 208, 16, 48, 64),
    "4c": (512, 160, 112, 224, 24, 64, 64),
    "4d": (512, 128, 128, 256, 24, 64, 64),
    "4e": (512, 112, 144, 288, 32, 64, 64),
    "4f": (528, 256, 160, 320, 32, 128, 128),
    "5b": (832, 256, 160, 320, 32, 128, 128),
    "5c": (832, 384, 192, 384, 48, 128, 128),
}
"""CoCLR's S3D: width before, then of the four branches' layers."""


def s3d_state(seed=0):
    """CoCLR's S3D, without the aliases `blockN.M`."""
    state = State(seed)

    def basic(name, after, before):
        state.conv(f"{name}.conv", after, before, (1, 1, 1))
        state.norm(f"{name}.bn", after)

    def separable(name, after, before, kernel):
        state.conv(f"{name}.conv1", after, before, (1, kernel, kernel))
        state.conv(f"{name}.conv2", after, after, (kernel, 1, 1))
        state.norm(f"{name}.bn1", after)
        state.norm(f"{name}.bn2", after)

    separable("Conv_1a", 64, 3, 7)
    basic("Conv_2b", 64, 64)
    separable("Conv_2c", 192, 64, 3)
    for name, (before, b0, b1a, b1b, b2a, b2b, b3) in MIXED.items():
        mixed = f"Mixed_{name}"
        basic(f"{mixed}.branch0.0", b0, before)
        basic(f"{mixed}.branch1.0", b1a, before)
        separable(f"{mixed}.branch1.1", b1b, b1a, 3)
        basic(f"{mixed}.branch2.0", b2a, before)
        separable(f"{mixed}.branch2.1", b2b, b2a, 3)
        basic(f"{mixed}.branch3.1", b3, before)
    return state


def s3d(state, x, eps=1e-5):
    def basic(name, x):
        return norm(state, f"{name}.bn", conv(state, f"{name}.conv", x), eps).relu()

    def separable(name, x, kernel, stride=1):
        pad = kernel // 2
        x = conv(state, f"{name}.conv1", x, (1, stride, stride), (0, pad, pad))
        x = norm(state, f"{name}.bn1", x, eps).relu()
        x = conv(state, f"{name}.conv2", x, (stride, 1, 1), (pad, 0, 0))
        return norm(state, f"{name}.bn2", x, eps).relu()

    def mixed(name, x):
        one = separable(f"{name}.branch1.1", basic(f"{name}.branch1.0", x), 3)
        two = separable(f"{name}.branch2.1", basic(f"{name}.branch2.0", x), 3)
        three = basic(f"{name}.branch3.1", F.max_pool3d(x, 3, 1, 1))
        return torch.cat([basic(f"{name}.branch0.0", x), one, two, three], dim=1)

    x = F.max_pool3d(separable("Conv_1a", x, 7, 2), (1, 3, 3), (1, 2, 2), (0, 1, 1))
    x = separable("Conv_2c", basic("Conv_2b", x), 3)
    pools = {"3b": ((1, 3, 3), (1, 2, 2), (0, 1, 1)), "4b": (3, 2, 1), "5b": (2, 2, 0)}
    for name in MIXED:
        if name in pools:
            x = F.max_pool3d(x, *pools[name])
        x = mixed(f"Mixed_{name}", x)
    return x.mean(dim=(2, 3, 4))


def prefixed(state, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}
