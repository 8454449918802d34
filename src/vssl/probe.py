"""An online kNN read-out: says during training whether the features know the classes, and cannot touch the weights."""

from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from vssl.distributed import gather
from vssl.scheduled import ScheduledModule


class OnlineKnn(Callback):
    """kNN over the features of recent training batches, logged as `online_knn/accuracy`.

    No parameter, no gradient, no random number: weights with and without it are bit-identical. Neighbours from a
    query's own video, or from its source group where the manifest has groups, are not counted. It is a trend to watch,
    not a result: features come from augmented views in train mode, and from the training list.

    Args:
        size: Features kept.
        k: Neighbours.
        temperature: Of their weights exp(cos / temperature).
        every: Steps between two read-outs.
    """

    def __init__(self, size: int = 4096, k: int = 20, temperature: float = 0.07, every: int = 10) -> None:
        self.size, self.k, self.temperature, self.every = size, k, temperature, every
        self._bank: list[tuple[Tensor, Tensor, Tensor]] = []
        self._groups: Tensor | None = None
        self._labelled = False

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the source groups once; videos without a group stand for themselves."""
        assert isinstance(pl_module, ScheduledModule)
        data = pl_module.data
        # from the manifest, so that all ranks decide alike: a rank that skips a gather leaves the others waiting
        self._labelled = bool((data.label_ids[data.rows] >= 0).any())
        groups = data.manifest.groups()
        self._groups = torch.from_numpy(np.where(groups == 0, -1 - np.arange(len(groups)), groups))

    @override
    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Predict this batch from the bank, then add it."""
        if not self._labelled:
            return
        assert self._groups is not None
        features, _ = gather(F.normalize(outputs["features"].float(), dim=-1))
        labels, _ = gather(batch.label)
        groups, _ = gather(self._groups.to(batch.row.device)[batch.row])
        known = sum(len(f) for f, _, _ in self._bank)
        if known >= self.k and trainer.global_step % self.every == 0:
            accuracy = self._accuracy(features, labels, groups)
            pl_module.log("online_knn/accuracy", accuracy, prog_bar=True)
        self._bank.append((features, labels, groups))
        while known + len(features) - len(self._bank[0][0]) >= self.size:
            known -= len(self._bank.pop(0)[0])

    def _accuracy(self, features: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
        gallery, classes, owners = (torch.cat(parts) for parts in zip(*self._bank, strict=True))
        similarity = (features @ gallery.T).masked_fill(groups[:, None] == owners, -2.0)
        near, index = similarity.topk(self.k, dim=-1)
        weights = torch.exp(near / self.temperature) * (near > -2.0)
        votes = torch.zeros(len(features), int(classes.max()) + 1, device=features.device)
        votes.scatter_add_(1, classes[index].clamp_min(0), weights * (classes[index] >= 0))
        hits = (votes.argmax(-1) == labels) & (labels >= 0)
        return hits.sum() / (labels >= 0).sum().clamp_min(1)
