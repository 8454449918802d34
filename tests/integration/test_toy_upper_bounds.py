"""The toy world can be learned: with labels, a small network reads shape off it, on videos held out; motion:
test_finetune.py.

If it cannot, no result of a label-free method on the toy world means anything.
"""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vssl.backbones.base import Backbone
from vssl.backbones.tiny import TinyImage
from vssl.data.manifest import Manifest
from vssl.data.reader import read
from vssl.data.toy import generate

CROP = 44


class World:
    """A toy world decoded once: videos (R, T, 3, S, S) uint8."""

    def __init__(self, path: Path) -> None:
        self.manifest = Manifest.load(path)
        self.train, self.test = (torch.from_numpy(self.manifest.rows(1, subset)) for subset in ("train", "test"))
        used = sorted([*self.train.tolist(), *self.test.tolist()])
        assert used == list(range(960)), "the videos of split 1 come first in the manifest"
        self.videos = torch.stack([read(self.manifest.video(row), torch.arange(48)) for row in used])

    def labels(self, column: str) -> torch.Tensor:
        return torch.from_numpy(self.manifest.labels(column)[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("toy")


def jitter(x):
    """Another gain and offset for every channel of every row: colours are not the same in test."""
    gain = 0.7 + 0.6 * torch.rand(len(x), 1, 3, 1, 1)
    return (x - 0.5) * gain + 0.5 + 0.2 * (torch.rand(len(x), 1, 3, 1, 1) - 0.5)


def train(encoder: Backbone, *, cut, world: World, column: str, batch: int, steps: int) -> nn.Module:
    """AdamW 3e-3 under one cycle; `cut(video)` gives a training clip (T, 3, H, W)."""
    net = nn.Sequential(encoder, nn.Linear(encoder.dim, len(world.manifest.labels(column)[1])))
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
    labels, queue = world.labels(column), torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(queue) < batch:
            queue = torch.cat([queue, world.train[torch.randperm(len(world.train))]])
        rows, queue = queue[:batch], queue[batch:]
        x = jitter(torch.stack([cut(world.videos[row]) for row in rows]).float() / 255)
        loss = F.cross_entropy(net((x - 0.5) / 0.25), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def accuracy(net: nn.Module, *, views, world: World, column: str) -> float:
    """Top-1 on the test videos; `views(videos)` gives the clips over which probabilities are averaged."""
    right = 0
    for rows in world.test.split(32):
        clips = views(world.videos[rows])
        votes = torch.stack([net((clip.float() / 255 - 0.5) / 0.25).softmax(1) for clip in clips]).sum(0)
        right += int((votes.argmax(1) == world.labels(column)[rows]).sum())
    return right / len(world.test)


def randint(stop: int) -> int:
    return int(torch.randint(stop, ()))


@pytest.mark.slow
def test_a_small_2d_network_reads_the_shape_of_the_redrawn_world(folder, record_property):
    world = World(generate(folder / "redrawn", nuisance="redrawn"))
    torch.manual_seed(0)

    def cut(video):
        side = int(48 * (0.5 + 0.5 * float(torch.rand(()))) ** 0.5)
        y, x = randint(48 - side + 1), randint(48 - side + 1)
        frame = video[randint(48)][None, :, y : y + side, x : x + side]
        return F.interpolate(frame.float(), CROP, mode="bilinear")

    def views(videos):
        frames = [F.interpolate(videos[:, t].float(), CROP, mode="bilinear") for t in (2, 15, 27, 45)]
        return [frame[:, None] for frame in frames]

    net = train(TinyImage(), cut=cut, world=world, column="shape", batch=96, steps=400)
    reached = accuracy(net, views=views, world=world, column="shape")
    record_property("shape accuracy", reached)
    assert reached > 0.9
