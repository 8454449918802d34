"""iBoot with a real ImageNet network: on the toy world, and on the 90 real clips, 60 to train on, 30 to test on.

So few clips resolve only large differences; what is asserted is that the loss falls below a constant prediction's and
that neighbours become the network's. Retrieval beside a random target's is printed with its interval, whichever way.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Callback
from torch.nn import functional as F

from support.cli import ENV
from support.learning import pretrained, scores
from support.runs import trained
from vssl.backbones import ImageTarget, TinyVideo
from vssl.data.dataset import VideoDataset
from vssl.data.manifest import Manifest
from vssl.methods.iboot import IBoot
from vssl.methods.targets import Targets
from vssl.optim import Optim
from vssl.types import Key
from vssl.views import Augment, ClipsWithFrames, Recipe, UniformClips, center
from vssl.views.plan import View

pytestmark = [pytest.mark.slow, pytest.mark.real, pytest.mark.timeout(1800)]

TOY = Path(__file__).parents[2] / "configs" / "method" / "toy" / "iboot.yaml"
FRAMES, STRIDE, SIZE, STEPS, BATCH = 4, 8, 56, 150, 20


def image_network(weights: str) -> ImageTarget:
    card = yaml.safe_load(TOY.read_text())["model"]["init_args"]["target"]["init_args"]
    return ImageTarget(**card | {"weights": weights})


class Losses(Callback):
    def __init__(self):
        self.values, self.constants = [], []

    def on_train_batch_end(self, trainer, *_):
        self.values.append(float(trainer.callback_metrics["train/loss"]))
        self.constants.append(float(trainer.callback_metrics["train/constant_loss"]))


def method(weights, cache):
    torch.manual_seed(0)
    return IBoot(
        TinyVideo([16, 48, 96], size=SIZE, frames=FRAMES, stride=STRIDE),
        target=image_network(weights),
        views=ClipsWithFrames(clips=1, frames=FRAMES, stride=STRIDE, teacher_frames=2),
        augment=Augment(scale=(0.5, 1.0)),
        targets=Targets(clips="own", centring="running", crop="center", cache=str(cache)),
        optim=Optim(name="adamw", lr=3e-3, weight_decay=0.02, warmup=20, unit="step"),
    )


@torch.no_grad()
def features(net, manifest, rows):
    """Of two clips per video: the clip encoder's and the image network's, both unit length."""
    card, target = net.backbone.input, net.target.input
    cut = (center(),)
    views = {"clips": View(cut, card.size, card.mean, card.std), "stills": View(cut, 96, target.mean, target.std)}
    sampler = Both(UniformClips(clips=2, frames=FRAMES, stride=STRIDE))
    dataset = VideoDataset(manifest, recipe=Recipe(sampler, views), labels=manifest.labels("label")[0], seed=0)
    ours, theirs = [], []
    net.eval()
    for row in rows:
        sample = dataset[Key(0, int(row), 0, 0)]
        clip, still = (
            (sample.views[name] / 255 - torch.tensor(v.mean).view(3, 1, 1)) / torch.tensor(v.std).view(3, 1, 1)
            for name, v in views.items()
        )
        ours.append(net.backbone(clip).mean(0))
        theirs.append(net.target(still).mean(0))
    return torch.stack(ours), torch.stack(theirs)


class Both:
    """The same clips for both networks."""

    def __init__(self, sampler):
        self.sampler = sampler

    def accepts(self, meta):
        return self.sampler.accepts(meta)

    def __call__(self, meta, rng):
        plan = self.sampler(meta, rng)
        return plan._replace(views={"clips": plan.views["clips"], "stills": plan.views["clips"]})


def nearest(query, gallery):
    """Per row of `query` the order of `gallery` by cosine, both centred by the gallery's mean."""
    mean = gallery.mean(0)
    return (F.normalize(query - mean, dim=-1) @ F.normalize(gallery - mean, dim=-1).T).argmax(-1)


def test_the_clip_encoder_takes_over_the_image_networks_neighbours(real_data, real_ucf, tmp_path):
    manifest = Manifest.load(real_ucf)
    labels, _ = manifest.labels("label")
    train, test = manifest.rows(1, "train"), manifest.rows(1, "test")
    assert (len(train), len(test)) == (60, 30)
    file = str(real_data / "teachers" / "mobilenetv2_100_imagenet.pth")
    made, hits, agreement = {}, {}, {}
    for name, weights, steps in (("untrained", file, 1), ("teacher", file, STEPS), ("random target", "random", STEPS)):
        watch = Losses()

        def build(name=name, weights=weights):
            made[name] = method(weights, tmp_path / "cache")
            return made[name]

        trained(build, real_ucf, steps=steps, batch_size=BATCH, workers=1, callbacks=[watch])
        if name == "untrained":  # one step of a warm-up from 0: only the norms have seen data
            calibrated(made[name], manifest, train)
        print(f"{name}: loss {np.mean(watch.values[:5]):.3f} to {np.mean(watch.values[-10:]):.3f}")
        net = made[name]
        (gallery, gallery_g), (query, query_g) = (features(net, manifest, rows) for rows in (train, test))
        found = nearest(query, gallery)
        hits[name] = labels[train[found.numpy()]] == labels[test]
        if weights == file:
            agreement[name] = (found == nearest(query_g, gallery_g)).float().mean().item()
            same = labels[train[nearest(query_g, gallery_g).numpy()]] == labels[test]
            hits["image network"] = same
        if name == "teacher":
            assert np.mean(watch.values[-10:]) < np.mean(watch.constants[-10:]) - 0.4
    rng = np.random.default_rng(0)
    draws = rng.integers(0, 30, (10_000, 30))
    for name, hit in hits.items():
        low, high = np.percentile(hit[draws].mean(1), [2.5, 97.5])
        print(f"{name}: retrieval top-1 {100 * hit.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]")
    gap = hits["teacher"].astype(float) - hits["random target"]
    print("teacher - random target:", gap.mean(), np.percentile(gap[draws].mean(1), [2.5, 97.5]))
    print("agreement of the nearest neighbour:", agreement)
    assert agreement["teacher"] > agreement["untrained"]


@torch.no_grad()
def calibrated(net, manifest, rows):
    """Batch-norm statistics of the training clips: a fresh network's of 0 and 1 say nothing."""
    card = net.backbone.input
    views = {"clips": View((center(),), card.size, card.mean, card.std)}
    recipe = Recipe(UniformClips(clips=1, frames=FRAMES, stride=STRIDE), views)
    dataset = VideoDataset(manifest, recipe=recipe, labels=manifest.labels("label")[0], seed=0)
    clips = torch.cat([dataset[Key(0, int(row), 0, 0)].views["clips"] for row in rows])
    for norm in net.modules():
        if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm):
            norm.reset_running_stats()
            norm.momentum = None
    net.backbone.train()(((clips / 255) - torch.tensor(card.mean).view(3, 1, 1)) / torch.tensor(card.std).view(3, 1, 1))


def test_iboot_learns_shape_from_a_real_image_network(tmp_path, real_data, monkeypatch):
    """Where nuisance is redrawn; on the world with constant nuisance it learns colour (toy.md 4c)."""
    monkeypatch.setitem(ENV, "VSSL_TEACHER", str(real_data / "teachers" / "mobilenetv2_100_imagenet.pth"))
    run = pretrained(
        tmp_path, "iboot", "redrawn", "shape,colour,motion", f"--model.targets.cache={tmp_path / 'targets'}", clips=2
    )
    shape = scores(run, "shape")
    print(shape, scores(run, "colour"), scores(run, "motion"), sep="\n")
    assert shape.against_random.verdict == "beats"
    (network,) = [name for name in shape.baselines if name.startswith("ImageTarget")]
    assert shape.baselines[network] > shape.trained  # what there is to learn
