"""Short trainings that differ only in what a test is about."""

import warnings
from dataclasses import replace

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import default_collate

from vssl import VideoDataModule
from vssl.backbones.base import Backbone, Input
from vssl.backbones.target import ImageTarget
from vssl.backbones.tiny import TinyImage, TinyVideo
from vssl.ema import Momentum
from vssl.methods.auxskd import VIEWS, AuxSKD
from vssl.methods.byol import EmaVideo
from vssl.methods.iboot import IBoot, KlBank
from vssl.methods.rspnet import RSPNet
from vssl.methods.targets import Targets
from vssl.methods.vcop import VCOP
from vssl.methods.videopace import VideoPace
from vssl.methods.vito import VITO, ByolAugment, Projector
from vssl.methods.vivi import VIVI, Critic, Triplet
from vssl.methods.vspp import VSPP
from vssl.optim import Optim
from vssl.types import Batch, Key
from vssl.views import Augment, ClipsWithFrames, PacedClips, Shots, ShuffledClips, SpeedPairs, WholePace, WindowFrames

SGD = Optim(name="sgd", lr=0.1, weight_decay=1e-4, schedule="cosine", warmup=2, unit="step")


def vito(optim=SGD, **variant):
    augment = ByolAugment(size=24)
    return VITO(TinyImage(4), augment=augment, optim=optim, projector=Projector(16, 8), attention_hidden=8, **variant)


def vito_predictor():
    return vito(predictor="mlp")


def moclr():
    return vito(pooling="mean", scales=1, views=WindowFrames(scheme="delta", gap_s=0.0))


PACED = Augment(scale=(0.5, 1.0), jitter=0.8, per_frame="photometry")


def tiny_video():
    return TinyVideo(4, light=True, stem="difference", size=24, frames=8)


def vspp(optim=SGD, **variant):
    return VSPP(tiny_video(), views=PacedClips(frames=8), augment=PACED, optim=optim, **variant)


def auxskd(optim=SGD, kind=AuxSKD, **variant):
    return kind(tiny_video(), views=replace(VIEWS, frames=8), augment=PACED, optim=optim, bank_size=32, **variant)


def auxskd_joint(optim=SGD):
    return auxskd(optim, joint_pretext_weight=1.0)


def auxskd_without_predictor(optim=SGD):
    return auxskd(optim, predictor=False)


def vivi(optim=SGD, *, shots=4, variant="ex", backbone=None, **settings):
    """VIVI-Ex(4), or another variant, on crops of 24 pixels."""
    hsv = 1.0 if variant == "ex" else 0.0
    given = {
        "views": Shots(shots=shots, frames=3, fps=None),
        "augment": Augment(scale=(0.3, 1.0), hsv=hsv, per_frame="all"),
        "triplet": Triplet(embed_dim=8),
        "critic": Critic(hidden=12, out=8),
        "video_weight": 0.5,
    }
    backbone = TinyImage(4, size=24) if backbone is None else backbone
    return VIVI(backbone, variant=variant, optim=optim, **given | settings)


def vivi_ex2(optim=SGD):
    return vivi(optim, shots=2)


def vivi_soft(optim=SGD):
    return vivi(optim, triplet=Triplet(flavour="batch_hard_soft", embed_dim=8))


def vivi_rot(optim=SGD):
    return vivi(optim, variant="rot")


def vivi_without_video_level(optim=SGD):
    return vivi(optim, video_weight=0.0)


def vivi_order(optim=SGD):
    return vivi(optim, video_loss="order", pooling="attention")


def videopace(optim=SGD):
    return VideoPace(tiny_video(), views=WholePace(frames=8), optim=optim, augment=Augment(jitter=0.8))


def vcop(optim=SGD, dropout=0.5):
    views = ShuffledClips(frames=8, gap=4)
    return VCOP(tiny_video(), views=views, augment=Augment(), optim=optim, hidden=16, dropout=dropout)


def vcop_without_dropout():
    return vcop(dropout=0.0)  # which units it drops depends on the rank


def rspnet(optim=SGD):
    momentum = Momentum(0.9, "constant")
    return RSPNet(tiny_video(), views=SpeedPairs(frames=8), optim=optim, out=8, bank_size=32, momentum=momentum)


def vspp_speed_alone():
    return vspp(heads="speed")


def vspp_segment_alone():
    return vspp(heads="segment")


def image_target(seed=0, **card):
    """A small timm network, randomly initialised."""
    given = {"weights": "random", "mean": [0.5] * 3, "std": [0.25] * 3, "size": 32, "seed": seed}
    return ImageTarget("test_resnet", **given | card)


def iboot(optim=SGD, *, target=None, views=None, **settings):
    """iBoot on clips of 4 frames of 24 pixels, jittered and blurred, with targets of a random network."""
    augment = Augment(scale=(0.5, 1.0), jitter=0.8, blur=0.5)
    views = ClipsWithFrames(clips=2, frames=4, stride=2, teacher_frames=2) if views is None else views
    backbone = TinyVideo(4, light=True, size=24, frames=4)
    target = image_target() if target is None else target
    return IBoot(backbone, target=target, views=views, augment=augment, optim=optim, **settings)


def iboot_centred(optim=SGD):
    return iboot(optim, targets=Targets(centring="running", photometric=True))


def iboot_infonce(optim=SGD):
    return iboot(optim, loss="infonce", head="mlp", hidden=16)


def iboot_bank(optim=SGD):
    return iboot(optim, loss="kl_bank", bank=KlBank(32), targets=Targets(centring="ema"))


def iboot_video(optim=SGD):
    return iboot(optim, ema_video=EmaVideo(1.0, hidden=16, out=8), head="mlp+predictor", hidden=16)


def iboot_sequential(optim=SGD):
    return iboot(optim, sequential=True, targets=Targets(aggregate="per_frame", clips="cross"))


BUILDERS = {
    "vssl.methods.auxskd.AuxSKD": auxskd,
    "vssl.methods.rspnet.RSPNet": rspnet,
    "vssl.methods.vcop.VCOP": vcop,
    "vssl.methods.videopace.VideoPace": videopace,
    "vssl.methods.iboot.IBoot": iboot,
    "vssl.methods.vito.VITO": vito,
    "vssl.methods.vivi.VIVI": vivi,
    "vssl.methods.vspp.VSPP": vspp,
}
"""One per installed method."""
VARIANTS = {
    "VIVI-Ex(2)": vivi_ex2,
    "VIVI-Rot(4)": vivi_rot,
    "VIVI-Ex(4), lambda 0": vivi_without_video_level,
    "VIVI-Ex(4), order, attention": vivi_order,
    "auxSKD with the pretext": auxskd_joint,
    "auxSKD, no predictor": auxskd_without_predictor,
    "VSPP, speed alone": vspp_speed_alone,
    "VSPP, segment alone": vspp_segment_alone,
    "iBoot, centred": iboot_centred,
    "iBoot, InfoNCE": iboot_infonce,
    "iBoot, bank": iboot_bank,
    "iBoot, video branch": iboot_video,
    "iBoot, sequential": iboot_sequential,
}
"""More settings that keep the same promises."""


class Given(Backbone):
    """Features come with the batch."""

    def __init__(self, dim=32):
        super().__init__()
        self.dim, self.map_dims, self.input = dim, (dim,), Input(8, frames=16)

    def forward(self, x):
        return x

    def maps(self, x, last=1):
        return (x,) * last


def batch_of(method, manifest, epoch=0, rows=8):
    """A batch of the toy world as the method's recipe wants it."""
    data = VideoDataModule(str(manifest), recipe=method.recipe, batch_size=rows, num_workers=0)
    dataset = data.train_dataloader().dataset
    return default_collate([dataset[Key(epoch, int(row), 0, i)] for i, row in enumerate(data.rows[:rows])])


def random_shots(method, videos=4, seed=0):
    """A batch of noise for VIVI."""
    generator = torch.Generator().manual_seed(seed)
    sampler, size = method.recipe.sampler, method.recipe.views["shots"].size
    shape = (videos, sampler.shots, sampler.frames, 3, size, size)
    pixels = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    none = torch.zeros(videos).long()
    return Batch({"shots": pixels}, {"shots": {}}, {"detected": torch.ones(videos)}, {}, none, none)


def without_batch_statistics(module):
    """BatchNorm to GroupNorm(1): SyncBatchNorm does not run on a CPU, everything else stays as shipped."""
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            trains = child.weight.requires_grad  # a teacher's do not
            setattr(module, name, nn.GroupNorm(1, child.num_features).requires_grad_(trains))
        else:
            without_batch_statistics(child)
    return module


def trained(
    build, manifest, *, steps=8, batch_size=8, workers=0, exact_norms=False, callbacks=(), ckpt_path=None, **trainer
):
    """Weights (NumPy) after `steps` steps from seed 0."""
    torch.manual_seed(0)
    method = build()
    if exact_norms:
        without_batch_statistics(method)
    data = VideoDataModule(str(manifest), recipe=method.recipe, batch_size=batch_size, num_workers=workers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = {
            "accelerator": "cpu",
            "devices": 1,
            "max_steps": steps,
            "max_epochs": -1,
            "logger": False,
            "enable_checkpointing": any(isinstance(c, ModelCheckpoint) for c in callbacks),
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "callbacks": list(callbacks),
        }
        loop = Trainer(**{**settings, **trainer})
        loop.fit(method, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return {name: value.detach().numpy().copy() for name, value in method.state_dict().items()}


def difference(a, b):
    """Largest difference between two sets of weights."""
    assert a.keys() == b.keys()
    return max(float(np.abs(a[k].astype(np.float64) - b[k].astype(np.float64)).max()) for k in a)
