"""Checkpoints as `vssl fit` writes them, without training."""

import torch


def save(path, net, *, seen=None):
    """A run directory's last checkpoint of an encoder as it is; returns the run directory."""
    ours = {"backbone": net.spec(), "method": "x.Tiny", "seen": seen, "budget": {}, "prefix": "backbone."}
    state = {f"backbone.{name}": value for name, value in net.state_dict().items()}
    file = path / "checkpoints" / "last.ckpt"
    file.parent.mkdir(parents=True)
    torch.save({"vssl": ours, "state_dict": state, "global_step": 7, "epoch": 1}, file)
    return path
