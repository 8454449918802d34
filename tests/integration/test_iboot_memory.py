"""iBoot's memory on a GPU (iboot.md 10, check 8): several clips for little more than one; a teacher that holds none."""

import pytest
import torch

from support.runs import image_target
from vssl.backbones import VideoBackbone
from vssl.methods.iboot import IBoot
from vssl.types import Batch
from vssl.views import ClipsWithFrames

pytestmark = pytest.mark.gpu


def method(clips, *, sequential=False):
    torch.manual_seed(0)
    views = ClipsWithFrames(clips=clips, frames=8, stride=1, teacher_frames=2)
    backbone = VideoBackbone("slow_r50", size=112)
    return IBoot(backbone, target=image_target(), views=views, sequential=sequential).cuda().train()


def peak(clips, *, sequential=False, videos=8):
    """Bytes that one step takes beyond the network, its gradients and the batch."""
    net = method(clips, sequential=sequential)
    none = torch.zeros(videos).long().cuda()
    pixels = {
        "clips": torch.randint(256, (videos, clips, 8, 3, 112, 112), dtype=torch.uint8).cuda(),
        "stills": torch.randint(256, (videos, clips * 2, 1, 3, 32, 32), dtype=torch.uint8).cuda(),
    }
    batch = Batch(pixels, {}, {}, {}, none, none)
    net.step(batch).loss.backward()  # gradients and workspaces exist from here on
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    net.step(batch).loss.backward()
    torch.cuda.synchronize()
    first = net.backbone.scales[0][0].conv.weight.grad
    assert first is not None
    assert first.abs().max() > 0
    return torch.cuda.max_memory_allocated() - before


def test_four_clips_in_turn_take_less_than_four_times_one():
    one, turn = peak(1), peak(4, sequential=True)
    print(f"one clip {one / 2**20:.0f} MiB, four in turn {turn / 2**20:.0f} MiB")
    assert turn < 2 * one
    assert peak(4) > 3 * one  # at once they do


def test_the_teacher_keeps_no_activations():
    target = image_target().cuda()
    frames = torch.rand(64, 3, 32, 32, device="cuda")
    target.frames(frames)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    features = target.frames(frames)
    held = torch.cuda.memory_allocated() - before
    assert held < 4 * features.numel() * features.element_size() + 2**20
    assert not features.requires_grad
