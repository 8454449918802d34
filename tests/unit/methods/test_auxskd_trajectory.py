"""auxSKD's trajectory (auxskd.md 9, check 2 of 10): the order of EMA, bank and optimizer, in real trainings."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from support.runs import Given
from vssl.bank import Bank
from vssl.ema import Ema, Momentum
from vssl.methods.auxskd import AuxSKD
from vssl.optim import Optim
from vssl.types import Batch


def fill(n, m, a, b, c):
    i, j = np.arange(n)[:, None], np.arange(m)[None, :]
    return torch.from_numpy(np.sin(a * i + b * j + c * i * j + 0.3))


class Linears(AuxSKD):
    """The fixture's bias-free linear encoder and predictor."""

    def __init__(self, optim):
        super().__init__(Given(), optim=optim, bank_size=18)
        self.project, self.predict = (nn.Linear(k, 8, bias=False).double() for k in (5, 8))
        with torch.no_grad():
            self.project.weight.copy_(fill(8, 5, 0.53, 0.77, 0.29))
            self.predict.weight.copy_(fill(8, 8, 1.31, 0.77, 0.29))
        self.teacher_project = Ema(self.project, Momentum(0.9, "constant"))
        self.bank = Bank(18, 8).double()
        self.bank.rows.copy_(F.normalize(fill(18, 8, 2.17, 0.59, 0.83)))

    def view(self, batch, name):
        return batch.views[name]


class FrozenPredictor(Linears):
    def configure_optimizers(self):
        self.predict.requires_grad_(False)
        return super().configure_optimizers()


class EnqueuesFirst(Linears):
    def step(self, batch):
        keys = self.teacher_project.teacher(batch.views["clips"][:, 1])
        at = int(self.bank.pointer)
        self.bank.rows[at : at + 6] = F.normalize(keys)
        return super().step(batch)


class FixtureBatches(LightningDataModule):
    batch_size, batches_per_epoch, seed = 6, 4, 0

    def train_dataloader(self):
        none = torch.zeros(6).long()
        student = [fill(6, 5, 0.71 + 0.1 * t, 1.13, 0.37) for t in range(4)]
        teacher = [fill(6, 5, 0.33, 0.91 + 0.2 * t, 0.21) for t in range(4)]
        pairs = [torch.stack(pair, 1) for pair in zip(student, teacher, strict=True)]
        batches = [Batch({"clips": pair}, {}, {}, {}, none, none) for pair in pairs]
        return DataLoader(batches, batch_size=None)


class Rows(Callback):
    """What the table of the file lists, read at the moments it names."""

    def __init__(self):
        self.rows = []

    def on_train_batch_start(self, _, method, *__):
        self.teacher = method.teacher_project.teacher.weight.norm().item()

    def on_train_batch_end(self, _, method, outputs, *__):
        norms = [layer.weight.norm().item() for layer in (method.project, method.predict)]
        bank = method.bank
        self.rows.append(
            (outputs["loss"].item(), norms[0], self.teacher, norms[1], int(bank.pointer), bank.rows.sum().item())
        )


FIXTURE = Optim(name="sgd", lr=0.1, momentum=0.9, weight_decay=0.005, schedule="constant", unit="step")
TRAJECTORY = [
    (6.5801153159, 4.3412149762, 4.3303853743, 5.6851423620, 6, -1.2263649927),
    (5.2269880740, 4.3813658850, 4.3302989376, 5.7112558148, 12, 4.5098877622),
    (3.6367555712, 4.4565719587, 4.3301621309, 5.7629451032, 0, 9.4237401169),
    (2.9008823172, 4.5606794877, 4.3309348771, 5.8394522843, 6, 9.1507199429),
]


def trajectory(method):
    rows = Rows()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = Trainer(accelerator="cpu", max_epochs=1, enable_model_summary=False, callbacks=[rows], **quiet)
        trainer.fit(method, datamodule=FixtureBatches())
    return np.array(rows.rows)


def test_the_trajectory_of_the_file():
    np.testing.assert_allclose(trajectory(Linears(FIXTURE)), np.array(TRAJECTORY), rtol=0, atol=5.1e-11)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: EnqueuesFirst(FIXTURE),
        lambda: FrozenPredictor(FIXTURE),
        lambda: Linears(replace(FIXTURE, weight_decay=0.0)),
        lambda: Linears(replace(FIXTURE, momentum=0.0)),
    ],
)
def test_another_order_or_optimizer_takes_another_trajectory(wrong):
    assert np.abs(trajectory(wrong())[-1, 0] - TRAJECTORY[-1][0]) > 1e-4
