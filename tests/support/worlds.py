"""Toy videos in memory, whole or mispaired, and a training loop: what a learning check needs beside a method."""

from pathlib import Path

import torch
import yaml
from jsonargparse import ArgumentParser
from torch.utils.data import DataLoader, Dataset

from vssl.data.toy_factors import FPS, NUM_FRAMES, factors
from vssl.data.toy_render import render
from vssl.methods.base import Method
from vssl.seeds import seeded
from vssl.types import Key, Sample, VideoMeta
from vssl.views.draw import crop, draw

TOY = Path(__file__).parents[2] / "configs" / "method" / "toy"


def videos(split, count, seed):
    """The first `count` videos of a split with redrawn nuisance: (N, T, 3, h, w) uint8 and their cuts."""
    found, index = [], 0
    while len(found) < count:
        video = factors(index, seed=seed, nuisance="redrawn")
        if video.split == split:
            frames = torch.from_numpy(render(index, seed=seed, nuisance="redrawn").transpose(0, 3, 1, 2).copy())
            found.append((frames, tuple(shot.first for shot in video.shots[1:])))
        index += 1
    return torch.stack([frames for frames, _ in found]), [cuts for _, cuts in found]


class World(Dataset):
    """A method's samples of such videos. `mispaired`: every row of a view comes from a video of its own, at random."""

    def __init__(self, recipe, given, *, mispaired=False):
        self.recipe, self.mispaired = recipe, mispaired
        self.frames, self.cuts = given

    def __getitem__(self, key):
        meta = VideoMeta(NUM_FRAMES, FPS, *self.frames.shape[-2:], self.cuts[key.row], key.row)
        plan = self.recipe.sampler(meta, seeded(key.epoch, key.row, "plan"))
        drawn = draw(self.recipe.views, plan, meta, seed=0, key=key)
        views = {}
        for name, view in self.recipe.views.items():
            rows = len(plan.views[name])
            chosen = torch.full((rows,), key.row)
            if self.mispaired:
                chosen = torch.randint(len(self.frames), (rows,), generator=seeded(key.epoch, key.row, "mispaired"))
            where = plan.views[name] + torch.arange(rows)[:, None] * NUM_FRAMES
            views[name] = torch.stack(crop(self.frames[chosen].flatten(0, 1), where, view, drawn[name]))
        params = {name: each.photometry for name, each in drawn.items()}
        return Sample(views, params, plan.targets, {}, torch.tensor(-1), torch.tensor(key.row))

    def batches(self, size, *, first_epoch=0, steps=None):
        """Whole batches, every epoch in an order of its own; without `steps` one epoch."""
        per_epoch = len(self.frames) // size
        keys = []
        for step in range(steps or per_epoch):
            epoch, place = divmod(step, per_epoch)
            order = torch.randperm(len(self.frames), generator=seeded(first_epoch + epoch, "order")).tolist()
            keys.append([Key(first_epoch + epoch, row, 0, 0) for row in order[place * size : (place + 1) * size]])
        return DataLoader(self, batch_sampler=keys, num_workers=1)


def configured(name, **changed):
    """The method and the batch size of configs/method/toy/NAME.yaml, some of its arguments changed."""
    config = yaml.safe_load((TOY / f"{name}.yaml").read_text())
    config["model"]["init_args"] |= changed
    parser = ArgumentParser()
    parser.add_subclass_arguments(Method, "model")
    torch.manual_seed(0)
    given = parser.instantiate_classes(parser.parse_object({"model": config["model"]}))
    return given.model, config["data"]["batch_size"]


def learnt(method, world, *, steps, batch_size):
    """Train with the method's own optimizer, schedule and teachers; the process's loop, not Lightning's."""
    optimizer = method.optim.build(method)
    method.train()
    for step, batch in enumerate(world.batches(batch_size, steps=steps)):
        per_epoch = len(world.frames) // batch_size
        for group in optimizer.param_groups:
            group["lr"] = method.optim.lr_at(step, total=steps, steps_per_epoch=per_epoch, batch=batch_size)
        optimizer.zero_grad()
        method.step(batch).loss.backward()
        optimizer.step()
        for ema, student in method.teachers():
            ema.update(student, step, steps)
    return method.eval()


def held_out(method, world, *, batch_size, read):
    """Mean of `read(output)` over three draws of a world, in eval mode."""
    with torch.inference_mode():
        draws = [batch for epoch in range(3) for batch in world.batches(batch_size, first_epoch=10_000 + epoch)]
        return torch.stack([read(method.step(batch)) for batch in draws]).mean().item()
