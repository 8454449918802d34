"""A run that starts from another one's backbone: what is taken, refused and recorded."""

import hashlib
from functools import partial

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from support.runs import trained, vito, vspp
from vssl import checkpoint
from vssl.backbones.tiny import TinyVideo
from vssl.errors import UserError
from vssl.evaluate.encoder import pretraining
from vssl.initialise import init_from
from vssl.methods.vspp import VSPP


def run(folder, build, manifest, steps=2, **trainer):
    """A run directory with a last checkpoint."""
    saver = ModelCheckpoint(folder / "checkpoints", save_last=True)
    trained(build, manifest, steps=steps, callbacks=[saver], **trainer)
    return folder


@pytest.fixture(scope="module")
def phases(toy_manifest, tmp_path_factory):
    """VSPP for two steps, then VSPP from it for three."""
    folder = tmp_path_factory.mktemp("phases")
    first = run(folder / "one", vspp, toy_manifest)
    second = run(folder / "two", partial(started, vspp, first), toy_manifest, steps=3)
    return first, second


def started(build, path):
    method = build()
    init_from(method, path)
    return method


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_the_backbone_is_the_other_runs_bit_for_bit_and_heads_are_new(phases):
    weights = checkpoint.load(checkpoint.resolve(phases[0]))["state_dict"]
    theirs = {k.removeprefix("backbone."): v for k, v in weights.items() if k.startswith("backbone.")}
    torch.manual_seed(3)
    method = vspp()
    heads = {k: v.clone() for k, v in method.state_dict().items() if not k.startswith("backbone.")}
    assert not equal(method.backbone.state_dict(), theirs)
    inventory = init_from(method, phases[0])
    assert equal(method.backbone.state_dict(), theirs)
    assert all(torch.equal(v, method.state_dict()[k]) for k, v in heads.items())
    assert not torch.equal(heads["pace.weight"], weights["pace.weight"])
    assert inventory.kept == [k for k in weights if k.startswith("backbone.")]
    heads = ["pace.weight", "pace.bias", "segment.weight", "segment.bias"]
    assert inventory.dropped == inventory.new == heads
    rows = list(zip(*(column.cells for column in inventory.table().columns), strict=True))
    assert rows[0] == ("kept", "backbone", str(len(theirs)))
    assert ("dropped", "pace", "2") in rows
    assert ("new", "segment", "2") in rows


def test_teachers_start_as_copies_of_the_initialised_student(toy_manifest, tmp_path):
    first = run(tmp_path, vito, toy_manifest)
    torch.manual_seed(3)
    method = vito()
    method.backbone.load_state_dict(checkpoint.load_backbone(first).state_dict())
    assert not equal(method.teacher_backbone.teacher.state_dict(), method.backbone.state_dict())  # what the hook mends
    init_from(method, first)
    assert equal(method.teacher_backbone.teacher.state_dict(), method.backbone.state_dict())
    assert equal(method.teacher_head.teacher.state_dict(), method.head.state_dict())
    assert not any(p.requires_grad for p in method.teacher_backbone.parameters())


def test_a_checkpoint_says_where_its_run_started_and_sums_the_budget(phases):
    first, second = (checkpoint.read(phase) for phase in phases)
    assert first.phases == []
    assert "earlier" not in first.seen
    (phase,) = second.phases
    assert phase["sha"] == hashlib.sha256(first.path.read_bytes()).hexdigest()
    assert (phase["method"], phase["step"]) == ("vssl.methods.vspp.VSPP", 2)
    assert (first.budget["videos_seen"], second.budget["videos_seen"]) == (2 * 8, (2 + 3) * 8)
    assert second.budget["clips_seen"] == first.budget["clips_seen"] + 3 * 8
    (earlier,) = second.seen["earlier"]
    assert torch.equal(earlier["groups"], first.seen["groups"])
    record = pretraining(second.method, second.seen, second.budget)
    assert [data["num_videos"] for data in record["data"]["earlier"]] == [24]
    unknown = pretraining(second.method, {**second.seen, "earlier": [None]}, second.budget)["data"]
    assert unknown["unknown"]
    assert "unknown" not in record["data"]
    assert pretraining(second.method, None, second.budget)["data"] is None


def test_a_third_run_and_a_resumed_one_know_all_earlier_ones(phases, toy_manifest, tmp_path):
    third = run(tmp_path, partial(started, vspp, phases[1]), toy_manifest, steps=1)
    resumed = run(tmp_path, vspp, toy_manifest, steps=4, ckpt_path=str(checkpoint.resolve(third)))
    info = checkpoint.read(resumed)
    assert [phase["step"] for phase in info.phases] == [2, 3]
    assert info.budget["videos_seen"] == (2 + 3 + 4) * 8
    assert len(info.seen["earlier"]) == 2
    assert not any("earlier" in seen for seen in info.seen["earlier"])


def edited(path, folder, change):
    content = checkpoint.load(checkpoint.resolve(path))
    change(content)
    torch.save(content, folder / "edited.ckpt")
    return folder / "edited.ckpt"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w, key: w.pop(key), ["is missing"]),
        (lambda w, key: w.update({key: w[key][:1]}), ["has another shape"]),
        (lambda w, key: w.update({"backbone.more": w[key]}), ["backbone.more", "is not this encoder's"]),
    ],
)
def test_what_does_not_fit_key_by_key_is_refused(change, says, phases, tmp_path):
    state = checkpoint.load(checkpoint.resolve(phases[0]))["state_dict"]
    key = next(k for k, v in state.items() if k.startswith("backbone.") and v.ndim > 1)
    method = vspp()
    before = {k: v.clone() for k, v in method.state_dict().items()}
    with pytest.raises(UserError) as error:
        init_from(method, edited(phases[0], tmp_path, lambda c: change(c["state_dict"], key)))
    assert all(word in str(error.value) for word in says)
    assert "\n" not in str(error.value)
    assert equal(method.state_dict(), before)


def test_another_network_is_refused_also_where_all_shapes_agree(phases):
    frames = TinyVideo(4, light=True, stem="difference", size=24, frames=4)
    with pytest.raises(UserError, match="frames 8, here 4"):
        init_from(VSPP(frames), phases[0])
    with pytest.raises(UserError, match=r"TinyVideo, here .*TinyImage"):
        init_from(vito(), phases[0])
    with pytest.raises(UserError, match="no such checkpoint"):
        init_from(vspp(), "nowhere.ckpt")
