"""The list of stages: from one command line to one per stage; which stage a run directory stands for."""

import json

import pytest
import yaml

from vssl import checkpoint, staged
from vssl.cli import stages
from vssl.errors import UserError

TWO = [{"name": "a", "config": "sub/a.yaml"}, {"name": "b", "config": "b.yaml", "init_from": "a"}]


@pytest.fixture
def layer(tmp_path):
    """Writes a staged layer beside the files it names."""
    (tmp_path / "sub").mkdir()
    for name in ("sub/a.yaml", "b.yaml", "shared.yaml"):
        (tmp_path / name).write_text("trainer: {max_steps: 1}\n")

    def write(content, name="two.yaml"):
        (tmp_path / name).write_text(yaml.safe_dump(content))
        return tmp_path / name

    return write


@pytest.mark.parametrize("joined", [False, True])
def test_layers_and_flags_are_for_all_stages_and_own_flags_come_last(joined, layer, tmp_path):
    file, shared = str(layer({"stages": TWO})), str(tmp_path / "shared.yaml")
    pairs = [("--run_dir", "R"), ("--stages.b.data.batch_size", "4"), ("--data.batch_size", "8")]
    flags = [f"{k}={v}" for k, v in pairs] if joined else [word for pair in pairs for word in pair]
    plan = stages.read(["-c", shared, "-c", file, *flags])
    assert plan.run_dir == "R"
    a, b = plan.stages
    shared_flags = ["--data.batch_size=8"] if joined else ["--data.batch_size", "8"]
    own = ["--run_dir", str(tmp_path / "a"), "-c", shared, "-c", str(tmp_path / "sub/a.yaml")]
    assert a.line(tmp_path) == [*own, *shared_flags]
    start = ["--init_from", str(tmp_path / "a" / "checkpoints" / "last.ckpt")]
    assert b.line(tmp_path)[2:4] == start
    assert b.line(tmp_path)[-2:] == ["--data.batch_size", "4"]
    assert b.line(tmp_path)[7:-2] == [str(tmp_path / "b.yaml"), *shared_flags]


def test_a_command_without_a_list_is_not_ours(layer, tmp_path):
    layer({"stages": TWO})
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    for name in ("shared.yaml", "broken.yaml", "nowhere.yaml"):
        assert stages.read(["-c", str(tmp_path / name), "--data.manifest", "two.yaml"]) is None


MISTAKES = [
    ({"stages": TWO, "data": {}}, [], "a list of stages stands alone"),
    ({"stages": {"a": "a.yaml"}}, [], "stages is not a list"),
    ({"stages": []}, [], "stages is not a list"),
    ({"stages": [{"name": "a"}]}, [], "a stage has a name, a config"),
    ({"stages": [{**TWO[0], "steps": 3}]}, [], "a stage has a name, a config"),
    ({"stages": [TWO[0], TWO[0]]}, [], "names of stages are words and differ"),
    ({"stages": [{**TWO[0], "name": "../a"}]}, [], "names of stages are words and differ"),
    ({"stages": TWO[1:]}, [], "init_from: a: no earlier stage"),
    ({"stages": [{"name": "a", "config": "no.yaml"}]}, [], "no.yaml: no such file, but stage a of"),
    ({"stages": TWO}, ["--stages.c.data.split=2"], "there are the stages a, b"),
    ({"stages": TWO}, ["--stages.a"], "there are the stages a, b"),
    ({"stages": TWO}, ["--stages.a.run_dir=x"], "continue by themselves"),
    ({"stages": TWO}, ["--ckpt_path=x"], "--ckpt_path: is not for all stages"),
    ({"stages": TWO}, ["--init_from", "x"], "--init_from: is not for all stages"),
]


@pytest.mark.parametrize(("content", "flags", "says"), MISTAKES)
def test_a_mistake_is_told_in_one_line(content, flags, says, layer):
    with pytest.raises(UserError) as error:
        stages.read(["-c", str(layer(content)), *flags])
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_two_lists_are_refused(layer):
    first, second = layer({"stages": TWO}), layer({"stages": TWO}, "second.yaml")
    with pytest.raises(UserError, match=r"second.yaml: a run has one list of stages"):
        stages.read(["-c", str(first), f"--config={second}"])


def test_a_run_directory_stands_for_its_last_finished_stage(tmp_path):
    staged.write(tmp_path / "run" / staged.RECORD, {"stages": ["a", "b"]})
    run = tmp_path / "run"
    with pytest.raises(UserError, match="no stage of it is finished"):
        staged.last_stage(run)
    for name in ("a", "b"):
        (run / name / "checkpoints").mkdir(parents=True)
        (run / name / "checkpoints" / "last.ckpt").touch()
    staged.write(run / "a" / staged.DONE, {"step": 1})
    assert staged.last_stage(run) == run / "a"  # b has a checkpoint, but is not finished
    staged.write(run / "b" / staged.DONE, {"step": 1})
    assert checkpoint.resolve(run) == run / "b" / "checkpoints" / "last.ckpt"
    assert staged.name_of(run / "b") == "run/b"
    assert staged.name_of(run) == "run"
    assert staged.last_stage(tmp_path) == tmp_path  # a run of one piece
    assert json.loads((run / "b" / staged.DONE).read_text()) == {"step": 1}
    assert not list(run.rglob("*.tmp"))


def test_the_phases_of_a_stage_are_those_up_to_it(tmp_path):
    staged.write(tmp_path / staged.RECORD, {"stages": ["one", "two", "three"]})
    assert staged.phases(tmp_path / "two") == [tmp_path / "one", tmp_path / "two"]
    assert staged.phases(tmp_path / "else") == [tmp_path / "else"]
    assert staged.name_of(tmp_path / "two") == f"{tmp_path.name}/two"
