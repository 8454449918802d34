"""`vssl compare` on result files, as a process: what a user types and reads."""

import json
import resource
import subprocess
import sys

import pytest

from support import compare
from vssl.evaluate.protocol import load
from vssl.evaluate.result import key, write


def result(right, *, run, kind="trained", seed=0, clips=10):
    trained = kind == "trained"
    name = "VSPP" if trained else f"random {seed}"
    who = {"kind": kind, "name": name, "key": key(run=run if trained else "", name=name, clips=clips)}
    bare = {} if trained else {"pretraining": {}, "checkpoint": {}}
    bare |= {} if trained else {"backbone": {"spec": compare.SPEC, "num_parameters": 1000, "seed": seed}}
    record = load("knn-v1").override(views__clips=clips).record(compare.CARD)
    return compare.result(run, run, "knn-v1", right=right, seed=seed, record=record, **who, **bare)


@pytest.fixture
def run(tmp_path):
    """Makes a run directory with a trained score and three random ones."""

    def make(name, right, folder="runs", **changes):
        home = tmp_path / folder / name
        write(result(right, run=name, seed=len(name) + 10, **changes), home / "results")
        for seed in range(3):
            write(result(0.5, run=name, kind="random", seed=seed, **changes), home / "results")
        return home

    return make


def vssl(*words, cwd=None):
    command = [sys.executable, "-m", "vssl", "compare", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=60)


def test_the_table_has_methods_their_random_and_a_verdict(run):
    done = vssl(run("good", 0.8), run("middling", 0.55))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert next(line for line in lines if " good " in line).split()[:3] == ["1", "VSPP", "good"]
    assert " beats" in next(line for line in lines if " good " in line)
    assert sum("random init x3" in line for line in lines) == 1
    assert "300 of 300" in done.stdout


def test_files_are_written(run, tmp_path):
    names = [tmp_path / "out" / name for name in ("r.html", "r.json", "r.csv")]
    done = vssl(run("good", 0.8), "--html", names[0], "--json", names[1], "--csv", names[2])
    assert done.returncode == 0, done.stderr
    assert names[0].read_text().startswith("<!DOCTYPE html>")
    assert json.loads(names[1].read_text())[0]["rows"][0]["minus_random"]["verdict"] == "beats"
    assert len(names[2].read_text().splitlines()) == 1 + 2 + 4
    assert f"wrote {names[0]}" in done.stdout


def test_unequal_protocols_are_not_ranked_together(run):
    done = vssl(run("good", 0.8), run("other", 0.7, clips=5))
    assert "differ in views.clips: 10 / 5" in " ".join(done.stdout.split())
    ranked = [line.split()[:3] for line in done.stdout.splitlines() if " VSPP " in line]
    assert sorted(ranked) == [["1", "VSPP", "good"], ["1", "VSPP", "other"]]


def test_a_run_given_twice_counts_once_and_equal_names_are_told_apart(run):
    home = run("good", 0.8)
    twice = vssl(home, f"{home}/", home / "results")
    assert sum(" VSPP " in line for line in twice.stdout.splitlines()) == 1
    other = vssl(home, run("good", 0.6, folder="again"))
    ranked = [line.split()[:3] for line in other.stdout.splitlines() if line.split()[1:2] == ["VSPP"]]
    assert ranked == [["1", "VSPP", "runs/good"], ["2", "VSPP", "again/good"]]


@pytest.mark.parametrize(("make", "words"), [(False, "is not a directory"), (True, "has no results. Score it first")])
def test_a_missing_or_empty_run_is_one_line(tmp_path, make, words):
    if make:
        (tmp_path / "gone").mkdir()
    done = vssl("gone", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"vssl: error: gone: {words}")
    assert len(done.stderr.splitlines()) == 1


def test_no_torch_and_half_a_second(run):
    home = run("good", 0.8)
    code = "import sys; from vssl.cli import main; main(['compare', *sys.argv[1:]]); print('torch' in sys.modules)"
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", code, str(home)], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # processor time, not wall time: the same on a busy machine
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.stdout.splitlines()[-1] == "False"
    assert min(seconds) < 0.5, seconds


def seeds(run, *names):
    """Runs of one recipe."""
    homes = []
    for seed, name in enumerate(names):
        homes.append(run(name, 0.6 + 0.1 * seed))
        (homes[-1] / "config.yaml").write_text(f"seed_everything: {seed}\nmodel: {{lr: 1}}\n")
    return homes


def test_seeds_are_one_row_and_the_documents_are_written(run, tmp_path):
    homes = [*seeds(run, "a", "bb", "ccc"), run("other", 0.79)]
    names = [tmp_path / name for name in ("t.tex", "t.md", "r.html")]
    done = vssl(*homes, "--pairs", "--latex", names[0], "--markdown", names[1], "--html", names[2])
    assert (done.returncode, done.stderr) == (0, "")
    text = " ".join(done.stdout.split())
    assert "VSPP, mean of 3 seeds 3 runs" in text
    assert "bb (seed 1, split 1)" in text
    assert "standard deviation" in text
    assert r"\toprule" in names[0].read_text()
    assert "| VSPP, mean of 3 seeds |" in names[1].read_text()
    assert "VSPP, mean of 3 seeds" in names[2].read_text()
    (homes[1] / "config.yaml").write_text("seed_everything: 1\nmodel: {lr: 2}\n")
    assert "mean of 2 seeds" in vssl(*homes).stdout


def test_every_pair_is_printed_once(run):
    homes = [run("a", 0.9), run("bb", 0.56), run("ccc", 0.55)]
    pairs = [line for line in vssl(*homes, "--pairs").stdout.splitlines() if " against VSPP" in line]
    assert len(pairs) == len(set(pairs)) == 3
    assert sum("difference not resolved." in line for line in pairs) == 1
    assert sum(" against VSPP" in line for line in vssl(*homes).stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [([], "RUN or -c FILE: required"), (["-c", "gone.yaml"], "gone.yaml: no such file")],
)
def test_what_to_compare_must_be_named(tmp_path, words, message):
    done = vssl(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_previews_need_videos(run):
    done = vssl(run("good", 0.8), "--previews", "--html", "x.html")
    assert done.returncode == 2
    assert "--previews: needs the videos. Give --data.manifest" in done.stderr
