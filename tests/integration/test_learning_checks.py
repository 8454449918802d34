"""Learning check 13 of VIVI and VITO (papers' files, section 9), each with its negative control.

World seed 1, network seed 0; settings are those of the toy configurations, which were chosen on another world and seed.
"""

import math

import numpy as np
import pytest
import torch

from support.worlds import World, configured, held_out, learnt, videos
from vssl.evaluate.stats import Scores, compare

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STEPS = {"vivi": 250, "vito": 400}
"""VITO starts slowly: after 250 steps its held-out loss is 0.956 of the collapsed one."""


@pytest.fixture(scope="module")
def train():
    return videos("train", 576, seed=1)


@pytest.fixture(scope="module")
def test():
    return videos("test", 256, seed=1)


def vivi_run(train, test, *, mispaired=False, **changed):
    """A trained VIVI-Ex(2), its L_V on held-out videos (paired as those it was trained on), and log N."""
    method, batch_size = configured("vivi-ex2", **changed)
    learnt(method, World(method.recipe, train, mispaired=mispaired), steps=STEPS["vivi"], batch_size=batch_size)
    if method.critic is None:
        return method, math.nan, math.log(batch_size)
    world = World(method.recipe, test, mispaired=mispaired)
    loss = held_out(method, world, batch_size=batch_size, read=lambda out: out.logs["video_loss"])
    return method, loss, math.log(batch_size)


def retrieval(method, frames):
    """Per video, the share of its shots 0, 2, 4, 6 whose nearest next shot, of all videos, is its own."""
    view = method.recipe.views["shots"]
    still = frames.view(len(frames), 8, 6, *frames.shape[2:])[:, :, 3]  # the middle of every shot
    offset = (still.shape[-1] - view.size) // 2
    pixels = still[..., offset : offset + view.size, offset : offset + view.size].float() / 255
    x = (pixels - torch.tensor(view.mean).view(3, 1, 1)) / torch.tensor(view.std).view(3, 1, 1)
    with torch.inference_mode():
        features = torch.stack([method.backbone(shot.unsqueeze(1)) for shot in x.unbind(1)], 1)
    unit = torch.nn.functional.normalize(features, dim=-1)
    own = torch.arange(len(frames))
    hits = [(unit[:, k] @ unit[:, k + 1].T).argmax(-1) == own for k in (0, 2, 4, 6)]
    return torch.stack(hits).float().mean(0)


def as_scores(values):
    rows = np.arange(len(values))
    return Scores(rows, rows, values.double().numpy())


def test_vivi_predicts_shots_of_held_out_videos_and_finds_them_better_than_without_the_video_level(train, test):
    with_level, loss, collapsed = vivi_run(train, test)
    without, _, _ = vivi_run(train, test, video_weight=0.0)
    ours, ablation = (retrieval(method, test[0]) for method in (with_level, without))
    print(f"L_V {loss:.3f} of {collapsed:.3f}; retrieval {ours.mean():.3f}, lambda 0 {ablation.mean():.3f}")
    assert loss < 0.95 * collapsed
    assert compare([as_scores(ours)], [[as_scores(ablation)]]).verdict == "beats"


def test_vivi_learns_nothing_from_shots_of_different_videos(train, test):
    _, loss, collapsed = vivi_run(train, test, mispaired=True)
    print(f"L_V {loss:.3f} of {collapsed:.3f}")
    assert loss >= 0.95 * collapsed


def vito_run(train, test, *, mispaired):
    method, batch_size = configured("vito")
    learnt(method, World(method.recipe, train, mispaired=mispaired), steps=STEPS["vito"], batch_size=batch_size)
    world = World(method.recipe, test, mispaired=mispaired)
    views = method.recipe.sampler.views
    collapsed = views * (views - 1) * math.log(1 + (batch_size - 1) * views)  # all_views: check 1
    return held_out(method, world, batch_size=batch_size, read=lambda out: out.loss), collapsed


def test_vito_agrees_on_frames_of_held_out_videos(train, test):
    loss, collapsed = vito_run(train, test, mispaired=False)
    print(f"loss {loss:.3f} of {collapsed:.3f}")
    assert loss < 0.95 * collapsed


def test_vito_learns_nothing_from_frames_of_different_videos(train, test):
    loss, collapsed = vito_run(train, test, mispaired=True)
    print(f"loss {loss:.3f} of {collapsed:.3f}")
    assert loss >= 0.95 * collapsed
