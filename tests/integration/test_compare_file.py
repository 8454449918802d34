"""`vssl compare -c FILE`: what is run, what is skipped, what is said. `vssl fit` and `vssl evaluate` are replaced."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import yaml

from support.compare import LEAKS, Fake
from vssl.cli import main, process
from vssl.cli.plan import members, read

ROOT = Path(__file__).parents[2]
FILE = {
    "out": "out",
    "methods": {"vspp": {"config": ["vspp.yaml"], "pretrain": {"dataset": "motion"}}},
    "datasets": {"motion": {"manifest": "motion.csv", "labels": ["speed"]}},
    "protocols": ["knn-v1"],
    "seeds": [0, 1],
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vspp.yaml").write_text("model: {class_path: x.VSPP}\n")
    for name in ("motion", "shape"):
        (tmp_path / f"{name}.csv").write_text("path\n")
        (tmp_path / f"{name}.json").write_text(json.dumps({"content_hash": name, "dataset": name}))
    return tmp_path


@pytest.fixture
def fake(monkeypatch):
    found = Fake()
    monkeypatch.setattr(process, "vssl", found)
    return found


def compare(**changes):
    Path("f.yaml").write_text(yaml.safe_dump(FILE | changes, sort_keys=False))
    return main(["compare", "-c", "f.yaml"])


@pytest.mark.usefixtures("place")
def test_what_is_missing_is_run_and_what_is_there_is_not(fake, capsys):
    assert compare() == 0
    first = capsys.readouterr().out
    assert [call[0] for call in fake.calls] == ["fit", "evaluate", "fit", "evaluate"]
    for line in ("1/4 vspp seed 0: fit", "2/4 vspp seed 0: evaluate on motion", "3/4 vspp seed 1: fit"):
        assert line in first.splitlines()
    assert "mean of 2 seeds" in first
    assert {p.name for p in Path("out").glob("*.*")} >= {
        "report.html",
        "table.csv",
        "table.json",
        "table.md",
        "table.tex",
    }
    fake.calls.clear()
    assert compare() == 0
    second = capsys.readouterr().out
    assert fake.calls == []
    assert second.count("(there)") == 4
    assert second[second.index("motion /") :] == first[first.index("motion /") :]


@pytest.mark.usefixtures("place")
def test_the_words_of_an_evaluation(fake):
    Path("ddp.yaml").write_text("trainer: {devices: -1}\n")
    assert compare(seeds=[0], evaluate={"config": ["ddp.yaml"], "device": "cpu", "workers": 2}) == 0
    words = " ".join(fake.calls[1])
    assert "-c ddp.yaml" in words
    fake.calls.clear()
    Path("ddp.yaml").write_text("trainer: {devices: 2}\n")  # batch norms may see another share: asked anew
    assert compare(seeds=[0], evaluate={"config": ["ddp.yaml"], "device": "cpu", "workers": 2}) == 0
    assert [call[0] for call in fake.calls] == ["evaluate"]
    assert "--device cpu" in words
    assert "--workers 2" in words


@pytest.mark.usefixtures("place")
def test_the_words_of_a_fit(fake):
    assert compare(seeds=[3], fit={"config": ["vspp.yaml"], "set": {"trainer.max_steps": 5, "data.split": 2}}) == 0
    words = fake.calls[0]
    assert words[:5] == ["fit", "-c", "vspp.yaml", "-c", "vspp.yaml"]
    flags = dict(zip(words[5::2], words[6::2], strict=True))
    assert flags == {
        "--data.manifest": "motion.csv",
        "--data.split": "2",
        "--seed_everything": "3",
        "--trainer.max_steps": "5",
        "--run_dir": "out/runs/vspp-s1-seed3",
    }


@pytest.mark.usefixtures("place")
def test_a_killed_fit_goes_on_from_its_checkpoint_or_begins_again(fake, capsys):
    fake.kill = "fit"  # after the first checkpoint
    with pytest.raises(KeyError, match="killed"):
        compare(seeds=[0])
    fake.calls.clear()
    assert compare(seeds=[0]) == 0
    assert fake.calls[0][-2:] == ["--ckpt_path", "out/runs/vspp-s1-seed0/checkpoints/last.ckpt"]
    assert "fit, continued" in capsys.readouterr().out
    Path("out/runs/vspp-s1-seed0/checkpoints/last.ckpt").unlink()  # and with a config, but no checkpoint
    fake.calls.clear()
    assert compare(seeds=[0]) == 0
    assert "--ckpt_path" not in fake.calls[0]
    assert Path("out/runs/vspp-s1-seed0.killed1").is_dir()


@pytest.mark.usefixtures("place")
def test_a_kill_while_scoring_repeats_no_fit(fake):
    fake.kill = "evaluate"
    with pytest.raises(KeyError, match="killed"):
        compare(seeds=[0])
    fake.calls.clear()
    assert compare(seeds=[0]) == 0
    assert [call[0] for call in fake.calls] == ["evaluate"]


@pytest.mark.usefixtures("place")
def test_a_new_request_or_checkpoint_is_scored_again(fake):
    assert compare(seeds=[0]) == 0
    fake.calls.clear()
    assert compare(seeds=[0], protocols=["knn-v1", "retrieval-v1"]) == 0
    assert [call[0] for call in fake.calls] == ["evaluate"]
    Path("out/runs/vspp-s1-seed0/checkpoints/last.ckpt").write_text("other weights")
    fake.calls.clear()
    assert compare(seeds=[0]) == 0
    assert [call[0] for call in fake.calls] == ["evaluate"]
    (result,) = json.loads(Path("out/table.json").read_text())[0]["rows"][:1]  # the old weights' score is not shown
    assert result["checkpoint"]["sha"] == hashlib.sha256(b"other weights").hexdigest()


@pytest.mark.usefixtures("place")
def test_an_absent_teacher_is_told_of_and_tried_again(fake, capsys):
    fake.frozen, fake.beside = "ImageTarget net (a, b)", ["PixelHistogram"]
    assert compare(seeds=[0]) == 1
    told = "vspp-s1-seed0: ImageTarget net (a, b), which it learnt from, does not stand beside it (motion knn-v1)"
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"missing: {told}")
    assert "Put it back" in Path("out/report.html").read_text()
    assert main(["compare", "out/runs/vspp-s1-seed0"]) == 0  # said of finished runs too, which ask for nothing
    assert told in capsys.readouterr().out
    fake.calls.clear()
    fake.beside.append("ImageTarget net (a, b)")  # the file is back
    assert compare(seeds=[0]) == 0
    assert [call[0] for call in fake.calls] == ["evaluate"]
    assert "missing" not in capsys.readouterr().out
    fake.calls.clear()
    assert compare(seeds=[0]) == 0
    assert fake.calls == []


@pytest.mark.usefixtures("place")
def test_one_failing_member_does_not_lose_the_rest(fake, capsys):
    fake.fail = "vspp-s1-seed0"
    assert compare() == 1
    shown = capsys.readouterr().out
    assert [call[0] for call in fake.calls] == ["fit", "fit", "evaluate"]
    assert "1/4 vspp seed 0: fit: FAILED: exit code 2: no such thing. Log: L" in shown
    assert "2/4 vspp seed 0: evaluate on motion: left out, its fit failed" in shown
    assert shown.splitlines()[-1] == "missing: vspp seed 0: fit: exit code 2: no such thing. Log: L"
    assert "no such thing" in Path("out/report.html").read_text()
    assert "vspp-s1-seed1" in Path("out/table.csv").read_text()


@pytest.mark.usefixtures("place")
def test_nothing_at_all_is_one_line(fake, capsys):
    fake.fail = "vspp"
    assert compare() == 2
    assert capsys.readouterr().err.startswith("vssl: error: f.yaml: nothing of it could be scored.")


@pytest.mark.usefixtures("place")
def test_a_split_that_was_seen_is_refused_and_the_rest_goes_on(fake, capsys):
    data = {"motion": {"manifest": "motion.csv", "labels": ["speed"], "splits": [1, 2]}}
    assert compare(seeds=[0], datasets=data) == 1
    shown = capsys.readouterr().out
    refused = f"motion split 2 refused: {LEAKS}"
    assert shown.splitlines()[-1] == f"missing: vspp seed 0: {refused}"
    assert refused in Path("out/report.html").read_text()
    assert [call[call.index("--splits") + 1] for call in fake.calls[1:]] == ["1,2", "1"]
    fake.calls.clear()
    assert compare(seeds=[0], datasets=data) == 1  # said again, not tried again
    assert fake.calls == []
    assert refused in capsys.readouterr().out


@pytest.mark.usefixtures("place")
def test_runs_per_split_answer_for_their_own_split(fake, capsys):
    data = {"motion": {"manifest": "motion.csv", "labels": ["speed"], "splits": [1, 2, 3]}}
    data["shape"] = {"manifest": "shape.csv", "labels": ["speed"], "splits": [1]}
    entry = {"config": ["vspp.yaml"], "pretrain": {"dataset": "motion", "splits": [1, 2, 3]}}
    assert compare(seeds=[0], datasets=data, methods={"vspp": entry}) == 0
    asked = [(Path(c[1]).name, c[c.index("--splits") + 1]) for c in fake.calls if c[0] == "evaluate"]
    assert [(run, s) for i, (run, s) in enumerate(asked) if i % 2 == 0] == [
        (f"vspp-s{s}-seed0", str(s)) for s in (1, 2, 3)
    ]
    assert "pretrained on each of 3 splits" in capsys.readouterr().out


@pytest.mark.usefixtures("place")
def test_a_run_that_is_there_is_used_as_it_is(fake, capsys):
    assert compare(seeds=[0]) == 0
    fake.calls.clear()
    methods = {
        "mine": {"run": "out/runs/vspp-s1-seed0"},
        "both": {"run": "elsewhere/s{seed}", "config": ["vspp.yaml"], "pretrain": {"dataset": "motion"}},
    }
    Path("elsewhere/s0/checkpoints").mkdir(parents=True)
    Path("elsewhere/s0/checkpoints/last.ckpt").write_text("weights from elsewhere")
    assert compare(out="new", methods=methods) == 0
    assert [call[:2] for call in fake.calls] == [
        ["evaluate", "out/runs/vspp-s1-seed0"],
        ["evaluate", "elsewhere/s0"],
        ["fit", "-c"],
        ["evaluate", "elsewhere/s1"],
    ]
    assert "both seed 0: fit (there, made elsewhere)" in capsys.readouterr().out


@pytest.mark.usefixtures("place")
def test_other_settings_in_a_fitted_folder_are_refused(fake, capsys):
    assert compare(seeds=[0]) == 0
    Path("vspp.yaml").write_text("# a comment decides nothing\nmodel: {class_path: x.VSPP}\n")
    fake.calls.clear()
    assert compare(seeds=[0]) == 0
    Path("vspp.yaml").write_text("model: {class_path: x.VSPP, init_args: {lr: 1}}\n")
    assert compare() == 1
    assert "out/runs/vspp-s1-seed0: was fitted with other settings" in capsys.readouterr().out
    assert [call[0] for call in fake.calls] == ["fit", "evaluate"]  # of the other seed
    assert "vspp-s1-seed0" not in Path("out/table.csv").read_text()


@pytest.mark.usefixtures("place")
def test_a_folder_left_by_a_kill_before_its_mark_was_whole_is_used(fake):
    folder = Path("out/runs/vspp-s1-seed0")
    folder.mkdir(parents=True)
    (folder / ".compare.json.17.tmp").write_text('{"sett')
    assert compare(seeds=[0]) == 0
    assert [call[0] for call in fake.calls] == ["fit", "evaluate"]


def test_a_step_whose_command_was_killed_as_it_began_ends_too():
    code = lambda parent: subprocess.run([sys.executable, "-c", ""], preexec_fn=begin(parent), check=False).returncode
    begin = lambda parent: partial(process._end_with_parent, parent)
    assert code(os.getpid()) == 0
    assert code(-1) == (-signal.SIGKILL if sys.platform == "linux" else 0)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("progress", ["begun", "finished"])
def test_a_run_in_our_folder_that_we_did_not_fit_is_refused(fake, capsys, progress):
    folder = Path("out/runs/vspp-s1-seed0")
    if progress == "finished":
        assert compare(seeds=[0]) == 0
        (folder / "compare.json").unlink()
    else:
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text("{}")
    fake.calls.clear()
    assert compare() == 1
    assert f"{folder}: was not fitted by this command: it has no compare.json" in capsys.readouterr().out
    assert [call[0] for call in fake.calls] == ["fit", "evaluate"]  # of the other seed
    assert "vspp-s1-seed0" not in Path("out/table.csv").read_text()
    if progress == "finished":  # said by name, it is taken as it is
        methods = {"mine": {"run": str(folder), "config": ["vspp.yaml"], "pretrain": {"dataset": "motion"}}}
        assert compare(seeds=[0], methods=methods) == 0
        assert "mine seed 0: fit (there, made elsewhere)" in capsys.readouterr().out


@pytest.mark.usefixtures("place", "fake")
def test_other_videos_under_the_same_name_count_too(capsys):
    assert compare(seeds=[0]) == 0
    Path("motion.json").write_text(json.dumps({"content_hash": "more videos", "dataset": "motion"}))
    compare(seeds=[0])
    assert "out/runs/vspp-s1-seed0: was fitted with other settings" in capsys.readouterr().out


@pytest.mark.usefixtures("place", "fake")
def test_other_settings_of_a_stage_count_too(capsys):
    Path("both.yaml").write_text("stages: [{name: one, config: vspp.yaml}]\n")
    methods = {"both": {"config": ["both.yaml"], "pretrain": {"dataset": "motion"}}}
    assert compare(seeds=[0], methods=methods) == 0
    Path("vspp.yaml").write_text("model: {class_path: x.VSPP, init_args: {lr: 1}}\n")
    compare(seeds=[0], methods=methods)
    assert "out/runs/both-s1-seed0: was fitted with other settings" in capsys.readouterr().out


MISTAKES = [
    ({"colour": 3}, "f.yaml: Key 'colour' not in 'Comparison'"),
    ({"seeds": ["x"]}, "f.yaml: seeds[0]: Value 'x'"),
    ({"methods": {"a": {"confg": []}}}, "methods.a.confg: Key 'confg' not in 'Entry'"),
    ({"methods": {"a": {}}}, "methods.a: names neither a run nor a config"),
    ({"methods": {"a": {"run": "gone"}}}, "gone: no such run or checkpoint"),
    ({"evaluate": {"config": ["gone.yaml"]}}, "gone.yaml: no such file"),
    ({"evaluate": {"config": ["vspp.yaml"]}}, "vspp.yaml: holds model, and evaluate.config takes a trainer section"),
    ({"methods": {"a": {"config": ["gone.yaml"], "pretrain": {"dataset": "motion"}}}}, "gone.yaml: no such file"),
    ({"methods": {"a": {"config": ["vspp.yaml"], "pretrain": {"dataset": "x"}}}}, "must be one of motion"),
    (
        {"methods": {"a": {"run": "r", "config": ["vspp.yaml"], "pretrain": {"dataset": "motion"}}}},
        "several runs would share one folder without {seed}",
    ),
    ({"datasets": {"motion": {"manifest": "gone.csv"}}}, "gone.csv: no such manifest"),
    ({"protocols": ["knn-v9"]}, "knn-v9: is not a known protocol"),
    ({"protocols": []}, "f.yaml: protocols: is missing or empty"),
    ({"out": "${oc.env:VSSL_NOT_SET}"}, "VSSL_NOT_SET"),
]


@pytest.mark.usefixtures("place", "fake")
@pytest.mark.parametrize(("change", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_mistakes_are_one_line(capsys, change, message):
    assert compare(**change) == 2
    error = capsys.readouterr().err
    assert error.startswith("vssl: error: ")
    assert message in error
    assert len(error.splitlines()) == 1
    assert not Path("out").exists()


@pytest.mark.usefixtures("place")
def test_two_at_once_in_one_folder_are_refused(capsys):
    with process.alone(Path("out")):
        assert compare() == 2
    assert "out: another vssl compare is at work here" in capsys.readouterr().err


def test_a_step_ends_with_the_command_that_began_it(tmp_path):
    """SIGKILL leaves no time to clean up: the kernel ends the step."""
    stub = tmp_path / "stub" / "vssl"
    stub.mkdir(parents=True)
    (stub / "__init__.py").touch()
    step = (
        "import os, signal; open('pid.tmp', 'w').write(str(os.getpid())); os.rename('pid.tmp', 'pid'); signal.pause()"
    )
    (stub / "__main__.py").write_text(step)
    command = f"""
import os
from pathlib import Path
from vssl.cli import process
with process.alone(Path("out")) as lock:
    os.environ["PYTHONPATH"] = {str(stub.parent)!r}
    process.vssl(["fit"], Path("log"), lock)
"""
    parent = subprocess.Popen([sys.executable, "-c", command], cwd=tmp_path)
    pid = tmp_path / "pid"
    while not pid.exists():
        assert parent.poll() is None
        time.sleep(0.002)
    status = Path(f"/proc/{pid.read_text()}/stat")
    assert status.exists()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while status.exists() and status.read_text().split()[2] != "Z":
        time.sleep(0.002)
    with process.alone(tmp_path / "out"):
        pass


def test_a_failed_step_is_told_in_its_own_words(tmp_path):
    from vssl.errors import UserError

    with process.alone(tmp_path) as lock, pytest.raises(UserError) as told:
        process.vssl(["evaluate", "gone.ckpt"], tmp_path / "logs" / "x.log", lock)
    assert re.match(r"exit code 2: --data.manifest: is missing.*Log: .*x\.log", str(told.value))


@pytest.mark.parametrize("name", ["toy", "ucf101-cpu", "ucf101-hmdb51"])
def test_the_shipped_files_are_right(name, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("VSSL_DATA", str(tmp_path))
    for file in ("ucf101.csv", "hmdb51.csv", "toy/shape/manifest.csv", "toy/motion/manifest.csv"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
        (tmp_path / file).with_suffix(".json").write_text('{"content_hash": "x"}')
    plan = read(ROOT / "configs" / "compare" / f"{name}.yaml")
    found = list(members(plan))
    assert {member.method for member in found} >= {"vito", "vivi", "vspp", "auxskd-vspp"}
    assert all(member.fit for member in found)
    assert len({member.run for member in found}) == len(found)
    per_split = sum(len(entry.pretrain.splits) for entry in plan.methods.values())
    assert len({replace_seed(member) for member in found}) == per_split


def replace_seed(member):
    return member._replace(title="", settings="", splits=None, fit=None).run.name.rpartition("-seed")[0]
