"""How many clips a batch norm sees per step: a protocol's batch, unless processes share it out and do not tell."""

from dataclasses import replace

from torch import nn

from vssl.distributed import world_size
from vssl.evaluate.clips import TASKS
from vssl.evaluate.encoder import Encoder
from vssl.evaluate.passes import Settings
from vssl.evaluate.protocol import Protocol


def as_run(protocol: Protocol, encoder: Encoder, settings: Settings) -> Protocol:
    """The protocol, with the clips per norm and step where these are not all clips of the batch."""
    trained = protocol["task"] in TASKS and protocol["frozen.batch_norm"] == "train"
    together = world_size() == 1 or settings.trainer.get("sync_batchnorm", False)
    if not trained or together or not _has_batch_norms(encoder.backbone):
        return protocol
    return replace(protocol, clips_per_norm=protocol["optimisation.batch"] // world_size())


def _has_batch_norms(network: nn.Module) -> bool:
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())
