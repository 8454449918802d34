"""iBoot's sampler: places of the clips and of the teacher's frames in them, and what they are cut like."""

import numpy as np
import pytest
import torch

from vssl.errors import UserError
from vssl.seeds import seeded
from vssl.types import Key, VideoMeta
from vssl.views import Augment, ClipsWithFrames
from vssl.views.draw import crop, draw
from vssl.views.plan import Plan, View


def meta(num_frames):
    return VideoMeta(num_frames, 25.0, 60, 80)


@pytest.mark.parametrize(
    ("frames", "teacher", "places"), [(8, 8, range(8)), (8, 1, [4]), (8, 4, [1, 3, 5, 7]), (4, 2, [1, 3])]
)
def test_the_teachers_frames_are_the_middle_ones_of_equal_parts(frames, teacher, places):
    sampler = ClipsWithFrames(clips=3, frames=frames, stride=2, teacher_frames=teacher)
    plan = sampler(meta(100), seeded("a"))
    assert sampler.positions() == list(places)
    assert plan.views["clips"].shape == (3, frames)
    assert plan.views["stills"].shape == (3 * teacher, 1)
    for v in range(3):
        clip = plan.views["clips"][v].tolist()
        assert np.diff(clip).tolist() == [2] * (frames - 1)
        assert plan.views["stills"][v * teacher : (v + 1) * teacher, 0].tolist() == [clip[i] for i in places]


def test_starts_are_uniform_over_what_fits_and_clips_are_independent():
    sampler = ClipsWithFrames(clips=2, frames=4, stride=3, teacher_frames=1)  # a span of 10 frames
    starts = torch.stack([sampler(meta(14), seeded("draw", i)).views["clips"][:, 0] for i in range(2000)])
    counts = np.bincount(starts.flatten(), minlength=5)
    assert len(counts) == 5
    assert np.abs(counts - 800).max() < 5 * np.sqrt(800)
    assert abs(np.corrcoef(starts.T.numpy())[0, 1]) < 0.1


def test_a_short_video_wraps():
    plan = ClipsWithFrames(clips=2, frames=4, stride=3, teacher_frames=2)(meta(5), seeded("a"))
    assert plan.views["clips"].tolist() == [[0, 3, 1, 4]] * 2
    assert int(plan.views["stills"].max()) < 5
    assert ClipsWithFrames().accepts(meta(1))
    assert not ClipsWithFrames().accepts(meta(0))


def test_refusals():
    with pytest.raises(UserError, match=r"views.teacher_frames=9: the clip has 8 frames. Try views.teacher_frames=8"):
        ClipsWithFrames(teacher_frames=9)
    with pytest.raises(UserError, match=r"views.stride=0: must be positive"):
        ClipsWithFrames(stride=0)


def test_stills_have_their_own_clips_box_and_flip_at_the_teachers_size():
    """A frame whose pixels are their own coordinates: a still shows the region of its clip, at 4 times the side."""
    sampler = ClipsWithFrames(clips=4, frames=3, stride=1, teacher_frames=2)
    plan = sampler(meta(20), seeded("a"))
    views = {
        "clips": View((Augment(scale=(0.2, 0.4)),), 8, (0.0,) * 3, (1.0,) * 3),
        "stills": View((Augment(scale=(0.2, 0.4)),), 32, (0.0,) * 3, (1.0,) * 3, like="clips"),
    }
    rows, columns = torch.arange(60).view(60, 1).expand(60, 80) * 4, torch.arange(80).expand(60, 80) * 3
    frames = torch.stack([rows, columns, torch.full((60, 80), 7)]).to(torch.uint8).expand(20, 3, 60, 80)

    def means(views):
        drawn = draw(views, plan, meta(20), seed=0, key=Key(0, 0, 0, 0))
        assert drawn["stills"].photometry == {}
        cut = {name: torch.stack(crop(frames, plan.views[name], view, drawn[name])) for name, view in views.items()}
        assert cut["stills"].shape == (8, 1, 3, 32, 32)
        halves = lambda x: torch.stack([x[..., : x.shape[-1] // 2].mean((-1, -2)), x.mean((-1, -2))], -1)
        clips, stills = halves(cut["clips"].float())[:, 0], halves(cut["stills"].float())[:, 0]
        return (clips.repeat_interleave(2, 0) - stills).abs().max().item()

    assert means(views) < 1.0
    assert means(views | {"stills": views["stills"]._replace(like=None)}) > 10  # boxes of their own


def test_a_plan_is_a_function_of_the_generator():
    sampler = ClipsWithFrames()
    a, b = sampler(meta(300), seeded("a")), sampler(meta(300), seeded("a"))
    assert isinstance(a, Plan)
    assert all(torch.equal(a.views[n], b.views[n]) for n in a.views)
    assert not torch.equal(a.views["clips"], sampler(meta(300), seeded("b")).views["clips"])
