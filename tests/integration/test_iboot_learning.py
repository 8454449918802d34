"""iBoot's learning checks (iboot.md 10, 5 to 7) on a small world, each with a control that fails.

The image network is a random one, so that no file is needed: what a clip can learn of it is colour and layout, which
the world with constant nuisance has. What a trained network teaches is measured in test_iboot_real.py.
"""

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import default_collate

from support.runs import image_target
from vssl.backbones.tiny import TinyVideo
from vssl.data.dataset import VideoDataset
from vssl.data.manifest import Manifest
from vssl.data.toy import generate
from vssl.methods.iboot import IBoot
from vssl.methods.targets import Targets
from vssl.types import Key
from vssl.views import Augment, ClipsWithFrames

pytestmark = pytest.mark.slow


def method(clips="own"):
    torch.manual_seed(0)
    return IBoot(
        TinyVideo([8, 16, 64], size=32, frames=4, stride=8, temporal_stride=1),
        target=image_target(),
        views=ClipsWithFrames(clips=1 if clips == "own" else 2, frames=4, stride=8, teacher_frames=4),
        augment=Augment(crop="center", flip=0.0),
        targets=Targets(clips=clips, centring="running"),
    )


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """One clip, or two, of each of 320 videos: the first 256 to train on."""
    manifest = Manifest.load(generate(tmp_path_factory.mktemp("world"), 320, 0, "constant", 1))
    labels, _ = manifest.labels("shape")

    def read(clips="own"):
        dataset = VideoDataset(manifest, recipe=method(clips).recipe, labels=labels, seed=0)
        return default_collate([dataset[Key(0, row, 0, 0)] for row in range(320)])

    return read


def some(batch, rows):
    return batch._replace(
        views={name: view[rows] for name, view in batch.views.items()}, label=batch.label[rows], row=batch.row[rows]
    )


def fit(net, batch, steps, *, videos=64, size=32, change=lambda batch: batch):
    """Losses of every step of AdamW on the first `videos`."""
    net.train()
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=4e-3, weight_decay=0.02)
    generator, losses = torch.Generator().manual_seed(0), []
    for _ in range(steps):
        rows = torch.randperm(videos, generator=generator)[:size]
        out = net.step(change(some(batch, rows)))
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        losses.append(out.loss.item())
    return torch.tensor(losses)


@torch.no_grad()
def outputs(net, batch):
    """Unit predictions, features and targets of all videos, in eval mode."""
    net.eval()
    features = net.backbone(net.view(batch, "clips").flatten(0, 1))
    return F.normalize(net.head(features), dim=-1), features, net.image_targets(batch)[:, 0, 0]


def effective_rank(x):
    """exp of the entropy of the singular values' shares; no centring: a constant has rank 1."""
    values = torch.linalg.svdvals(x)
    shares = values / values.sum()
    return torch.special.entr(shares).sum().exp().item()


def test_learnability_and_collapse_with_a_constant_target(videos):
    """Check 6: the floor is 0, for every clip has one target."""
    batch = videos()
    net = method()
    losses = fit(net, batch, 120)
    print(f"first {losses[:3].mean():.3f}, last {losses[-10:].mean():.3f}")
    assert losses[-10:].mean() <= 0.5 * losses[:3].mean()
    prediction, _, _ = outputs(net, some(batch, torch.arange(64)))
    width = prediction.shape[1] ** 0.5
    assert prediction.std(0).mean().item() > 0.3 / width

    def one_image(batch):
        return batch._replace(
            views=batch.views | {"stills": batch.views["stills"][:1].expand_as(batch.views["stills"])}
        )

    flat = method()
    flat.centre = None  # a constant target is its own mean
    end = fit(flat, batch, 240, change=one_image)[-10:].mean()
    collapsed, _, _ = outputs(flat, some(batch, torch.arange(64)))
    print(f"constant: {end:.4f}, rank {effective_rank(collapsed):.2f} against {effective_rank(prediction):.2f}")
    assert end < 0.1
    assert collapsed.std(0).mean().item() < 0.3 / width
    assert effective_rank(collapsed) < 0.5 * effective_rank(prediction)


def test_targets_of_other_videos_cannot_be_learnt(videos):
    """Check 5: the stills of a batch's videos, shuffled anew in every step."""
    batch = videos("cross")
    right = fit(method("cross"), batch, 80)[-20:].mean()
    generator = torch.Generator().manual_seed(1)

    def shuffled(batch):
        order = torch.randperm(len(batch.row), generator=generator)
        return batch._replace(views=batch.views | {"stills": batch.views["stills"][order]})

    wrong = fit(method("cross"), batch, 80, change=shuffled)[-20:].mean()
    print(f"paired {right:.3f}, shuffled {wrong:.3f}")
    assert wrong - right >= 0.2


def ridge_r2(x, y, train, strength=1.0):
    """R^2 on the rows that are not `train` of a ridge regression from standardised x to y."""
    mean, std = x[:train].mean(0), x[:train].std(0) + 1e-6
    x = torch.cat([(x - mean) / std, torch.ones(len(x), 1)], 1).double()
    y = y.double()
    eye = strength * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(x[:train].T @ x[:train] + eye, x[:train].T @ y[:train])
    residual = (y[train:] - x[train:] @ weight).square().sum()
    return 1 - (residual / (y[train:] - y[:train].mean(0)).square().sum()).item()


def agreement(x, y):
    """Share of rows whose nearest neighbour by cosine is the same in both spaces."""
    nearest = []
    for z in (x, y):
        unit = F.normalize(z - z.mean(0), dim=-1)
        nearest.append((unit @ unit.T).fill_diagonal_(-2).argmax(-1))
    return (nearest[0] == nearest[1]).float().mean().item()


def test_the_image_networks_features_become_linear_in_the_clips(videos):
    """Check 7, on 64 videos that were not trained on."""
    batch = videos()
    net = method()
    untrained = method()
    with torch.no_grad():
        for first in range(0, 256, 32):  # statistics of the norms: without them it computes nothing useful
            untrained.train().step(some(batch, torch.arange(first, first + 32)))
    _, before, target = outputs(untrained, batch)
    fit(net, batch, 250, videos=256)
    _, after, _ = outputs(net, batch)
    found = {
        name: (ridge_r2(f, target, 256), agreement(f[256:], target[256:]))
        for name, f in (("untrained", before), ("trained", after))
    }
    print(found)
    assert found["trained"][0] >= found["untrained"][0] + 0.2
    assert found["trained"][1] > found["untrained"][1]
