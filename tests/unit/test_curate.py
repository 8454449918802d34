"""VideoNet's curation: VITO check 12, the stream, the journal, and runs that are killed."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import timm
import torch

from support.cli import ENV, in_process, refused
from vssl.data.classifier import Classifier
from vssl.data.curate import Rule, curate, keep
from vssl.data.journal import Journal
from vssl.data.manifest import Manifest
from vssl.data.manifest_stream import ManifestStream
from vssl.errors import UserError
from vssl.seeds import seeded

NET = "test_resnet"
KWARGS = {"num_classes": 9}
FREE = Rule(min_seconds=0.0)


def test_the_rule_of_videonet():
    assert keep(3, [7, 7, 3], 12.0)
    assert not keep(3, [7, 7, 7], 12.0)
    assert not keep(3, [7] * 100 + [3], 12.0)  # the 101st frame
    assert keep(3, [7] * 99 + [3], 12.0)
    assert not keep(3, [7, 7, 3], 9.9)
    assert keep(3, [3], 10.0)
    assert not keep(3, [], 12.0)
    assert round(100 * 1_180_042 / 5e6, 1) == 23.6


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("classifier") / "net.pth"
    net = timm.create_model(NET, **KWARGS).eval()
    with torch.no_grad():  # an untrained network has a favourite: take it away
        net.fc.bias -= net((colours() / 255 - 0.5) / 0.5).mean(0)
    torch.save(net.state_dict(), path)
    return path


def colours():
    return torch.randint(256, (60, 3, 1, 1), dtype=torch.uint8).expand(60, 3, 32, 32).contiguous()


@pytest.fixture(scope="module")
def classifier(weights):
    return Classifier(NET, weights, model_kwargs=KWARGS, mean=[0.5] * 3, std=[0.5] * 3, size=32)


class Script(Classifier):
    """Sees class 3 in one frame of every video, class 7 in all others."""

    def __init__(self, hit):
        self.hit, self.num_classes, self.size, self.card = hit, 9, 8, {"hit": hit}

    def top1s(self, frames):
        yield [3 if i == self.hit else 7 for i in range(len(frames))]


def listed(path, classes):
    path.write_text("path,class\n" + "".join(f"{name},{c}\n" for name, c in classes.items()))
    return path


@pytest.fixture(scope="module")
def queries(toy_manifest, classifier, tmp_path_factory):
    """Every third video is asked for what the classifier sees in it, every third for a class it never gives."""
    manifest = Manifest.load(toy_manifest)
    classes = probe_queries(manifest, classifier)
    return curate_into(tmp_path_factory.mktemp("all"), toy_manifest, classifier, classes)


def probe_queries(manifest, classifier):
    from vssl.data.curate import _first_frames

    classes = {}
    for row in range(len(manifest)):
        seen = [c for chunk in classifier.top1s(_first_frames(manifest.video(row), 100, 32)) for c in chunk]
        never = next(c for c in range(9) if c not in seen)
        if row % 3 < 2:
            classes[manifest.name(row)] = seen[-1] if row % 3 == 0 else never
    return classes


def curate_into(folder, toy_manifest, classifier, classes):
    file = listed(folder / "queries.csv", classes)
    curate(ManifestStream(toy_manifest), classifier, queries=file, out=folder / "kept.csv", rule=FREE)
    return file


def files(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.glob("kept*"))}


def test_a_third_is_kept_with_its_rows_as_they_were(toy_manifest, queries):
    source, out = Manifest.load(toy_manifest), queries.parent / "kept.csv"
    curated = Manifest.load(out)
    expected = [source.name(row) for row in range(0, len(source), 3)]
    assert [curated.name(row) for row in range(len(curated))] == expected
    lines = toy_manifest.read_text().splitlines()
    assert out.read_text().splitlines() == [lines[0], *lines[1::3]]
    assert (curated.dataset, curated.file(0)) == (source.dataset, source.root.resolve() / expected[0])
    report = json.loads(out.with_suffix(".curation.json").read_text())
    assert report["videos"] == len(source)
    counts = {"kept": len(expected), "other class": len(range(1, len(source), 3)), "no query": len(source) // 3}
    assert report["verdicts"] == {**counts, "short": 0, "unreadable": 0}
    assert sum(c["kept"] for c in report["classes"].values()) == len(expected)
    verdicts = [json.loads(line) for line in out.with_suffix(".curation.jsonl").read_text().splitlines()[1:]]
    assert [v["path"] for v in verdicts if v["verdict"] == "kept"] == expected
    assert all((v["frame"] is not None) == (v["verdict"] == "kept") for v in verdicts)


@pytest.mark.parametrize(("hit", "stays"), [(0, True), (9, True), (10, False)])
def test_only_the_first_frames_count(hit, stays, toy_manifest, tmp_path):
    manifest = Manifest.load(toy_manifest)
    file = listed(tmp_path / "q.csv", {manifest.name(row): 3 for row in range(len(manifest))})
    rule, out = Rule(min_seconds=0.0, first_frames=10), tmp_path / "kept.csv"
    report = curate(ManifestStream(toy_manifest), Script(hit), queries=file, out=out, rule=rule, num_workers=2)
    assert report["verdicts"]["kept"] == (len(manifest) if stays else 0)
    if stays:
        assert out.read_bytes() == toy_manifest.read_bytes()  # all kept: the same manifest, byte for byte


def test_short_and_broken_videos_are_dropped_by_name(toy_manifest, tmp_path):
    shutil.copytree(toy_manifest.parent, tmp_path / "world")
    source = ManifestStream(tmp_path / "world" / "manifest.csv")
    manifest = Manifest.load(source.path)
    file = listed(tmp_path / "q.csv", {manifest.name(row): 3 for row in range(len(manifest))})
    manifest.file(2).write_bytes(b"no video")
    report = curate(source, Script(0), queries=file, out=tmp_path / "kept.csv", rule=FREE)
    assert report["verdicts"] == {
        "kept": len(manifest) - 1, "other class": 0, "short": 0, "no query": 0, "unreadable": 1,
    }  # fmt: skip
    report = curate(source, Script(0), queries=file, out=tmp_path / "long.csv")
    assert report["verdicts"]["short"] == len(manifest)


def test_a_run_that_stopped_anywhere_ends_in_the_same_files(toy_manifest, classifier, queries, tmp_path):
    """The journal cut at any byte, with or without half-written rubbish behind it."""
    whole = files(queries.parent)
    journal = whole["kept.curation.jsonl"]
    rng = seeded("cuts")
    cuts = [0, 5, journal.index(b"\n"), journal.index(b"\n") + 1, len(journal) - 1, len(journal)]
    cuts += torch.randint(len(journal), (6,), generator=rng).tolist()
    calls = []

    class Counting(Classifier):
        def __init__(self):
            self.__dict__.update(classifier.__dict__)

        def top1s(self, frames):
            calls.append(len(frames))
            return super().top1s(frames)

    judged = sum(b'"no query"' not in line for line in journal.splitlines()[1:])
    for number, cut in enumerate(cuts):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "kept.curation.jsonl").write_bytes(journal[:cut] + (b"\0\0{rub" if number % 2 else b""))
        calls.clear()
        curate(ManifestStream(toy_manifest), Counting(), queries=queries, out=folder / "kept.csv", rule=FREE)
        again = files(folder)
        for name in ("kept.csv", "kept.curation.json", "kept.curation.jsonl"):
            assert again[name] == whole[name], (cut, name)
        done = sum(b'"no query"' not in line for line in journal[:cut].split(b"\n")[1:-1])
        assert len(calls) == judged - done  # what was done is not done again


KILLED = """
import sys
from pathlib import Path
from vssl.data.classifier import Classifier
from vssl.data.curate import Rule, curate
from vssl.data.manifest_stream import ManifestStream
manifest, weights, queries, out = map(Path, sys.argv[1:])
judge = Classifier("test_resnet", weights, model_kwargs={"num_classes": 9}, mean=[.5] * 3, std=[.5] * 3, size=32)
curate(ManifestStream(manifest), judge, queries=queries, out=out, rule=Rule(0.0), flush_s=0.0)
"""


def test_a_killed_process_is_continued(toy_manifest, classifier, weights, queries, tmp_path):
    out, journal = tmp_path / "kept.csv", tmp_path / "kept.curation.jsonl"
    argv = [sys.executable, "-c", KILLED, *map(str, (toy_manifest, weights, queries, out))]
    process = subprocess.Popen(argv, env=ENV, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not journal.exists() or journal.read_bytes().count(b"\n") < 8:
        assert time.monotonic() < deadline
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 8 <= journal.read_bytes().count(b"\n") < len(Manifest.load(toy_manifest)) + 1
    assert not out.exists()
    curate(ManifestStream(toy_manifest), classifier, queries=queries, out=out, rule=FREE)
    whole, again = files(queries.parent), files(tmp_path)
    names = ["kept.csv", "kept.curation.json", "kept.curation.jsonl", "kept.json"]
    assert sorted(again) == names
    assert [again[n] for n in names[:3]] == [whole[n] for n in names[:3]]
    root = re.compile(rb'"root": "[^"]*"')  # said relative to the folder of the manifest where it can be
    assert root.sub(b"", again["kept.json"]) == root.sub(b"", whole["kept.json"])


def test_a_journal_of_something_else_is_refused(toy_manifest, queries, tmp_path):
    out = tmp_path / "kept.csv"
    curate(ManifestStream(toy_manifest), Script(0), queries=queries, out=out, rule=FREE)
    with pytest.raises(UserError, match=r"other settings \(classifier\)\. Delete it to start anew"):
        curate(ManifestStream(toy_manifest), Script(1), queries=queries, out=out, rule=FREE)
    with pytest.raises(UserError, match=r"other settings \(rule\)"):
        curate(ManifestStream(toy_manifest), Script(0), queries=queries, out=out)
    with pytest.raises(UserError, match=r"is a new \.csv file"):
        curate(ManifestStream(toy_manifest), Script(0), queries=queries, out=toy_manifest)


def test_a_journal_takes_its_rows_in_order(tmp_path):
    journal = Journal(tmp_path / "j.jsonl", {"a": 1})
    journal.append([{"row": 0}, {"row": 1}])
    with pytest.raises(AssertionError):
        journal.append([{"row": 3}])
    journal.close()
    lines = (tmp_path / "j.jsonl").read_text().splitlines()
    (tmp_path / "j.jsonl").write_text("\n".join([*lines[:2], '{"row": 7}', lines[2]]) + "\n")
    again = Journal(tmp_path / "j.jsonl", {"a": 1})
    assert again.num_entries == 1  # what is not the next row is no entry
    again.close()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,class\na.mp4,1\n", r"'file,class', not path and class"),
        ("", r"not path and class"),
        ("path,class\na.mp4,9\n", r"a\.mp4 is '9', no index of the classifier's 9 classes"),
        ("path,class\na.mp4,cat\n", r"'cat', no index"),
        ("path,class\na.mp4,1\na.mp4,2\n", r"lists a path twice"),
    ],
)
def test_queries_that_are_none(text, says, toy_manifest, tmp_path):
    (tmp_path / "q.csv").write_text(text)
    with pytest.raises(UserError, match=says):
        curate(ManifestStream(toy_manifest), Script(0), queries=tmp_path / "q.csv", out=tmp_path / "kept.csv")
    assert not list(tmp_path.glob("kept*"))


def test_top1s_are_timms(weights, classifier):
    frames = colours()
    net = timm.create_model(NET, **KWARGS).eval()
    net.load_state_dict(torch.load(weights, weights_only=True))
    with torch.no_grad():
        expected = [int(net((f[None] / 255 - 0.5) / 0.5).argmax()) for f in frames]
    chunks = list(classifier.top1s(frames))
    assert [len(c) for c in chunks] == [25, 25, 10]
    assert [c for chunk in chunks for c in chunk] == expected
    assert len(set(expected)) > 1
    other = Classifier(NET, weights, model_kwargs=KWARGS, mean=[0.0] * 3, std=[0.01] * 3, size=32)
    assert [c for chunk in other.top1s(frames) for c in chunk] != expected  # a wrong card answers otherwise


def test_the_command_and_its_mistakes(toy_manifest, weights, queries, tmp_path, capfd):
    base = ["data", "curate", toy_manifest, "--weights", weights, "--out", tmp_path / "kept.csv", "--queries", queries]
    net = ["--classifier", NET, "--workers", "1"]
    card = ["--model-kwargs", "num_classes=9", "--mean", "0.5", "--std", "0.5", "0.5", "0.5", "--size", "32"]
    done = in_process(capfd, *base, *net, *card, "--min-seconds", "0")
    assert done.returncode == 0
    rows = len(Manifest.load(toy_manifest))
    assert re.match(rf"{(rows + 2) // 3} of {rows} videos kept \(3\d\.\d %\); dropped: ", done.stdout)
    assert (tmp_path / "kept.csv").read_bytes() == (queries.parent / "kept.csv").read_bytes()
    refused(in_process(capfd, *base, "--classifier", "test_resnetty"), "test_resnetty", "test_resnet")
    refused(in_process(capfd, *base, *net), "does not fit this network", "of another shape")
    refused(in_process(capfd, *base, *net, "--model-kwargs", "pad"), "pad: is no key=value")
    refused(in_process(capfd, *base, *net, "--model-kwargs", "{pad"), "{pad: is not JSON")
    refused(in_process(capfd, *base, *net, "--model-kwargs", '{"num_classes": 9}', "--mean", "1", "2"), "3 colour")
    refused(in_process(capfd, *base, *net, "--min-seconds", "-1"), "--min-seconds")
    refused(in_process(capfd, *base[:-1], tmp_path / "none.csv", *net, *card), "none.csv: no such file")
    refused(in_process(capfd, "data", "curate", tmp_path / "m.csv", *base[3:], *net), "m.csv: no such file")


MEMORY = """
import resource, sys
from pathlib import Path
from vssl.data.classifier import Classifier
from vssl.data.curate import curate
from vssl.data.manifest_stream import ManifestStream
class Nothing(Classifier):
    def __init__(self):
        self.num_classes, self.size, self.card = 9, 8, {}
folder = Path(sys.argv[1])
report = curate(ManifestStream(folder / "m.csv"), Nothing(), queries=folder / "q.csv", out=folder / "kept.csv")
assert report["verdicts"]["short"] == report["videos"] - 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def many(folder, manifest, count):
    """A manifest of `count` rows whose files are not there; none is opened, for none lasts ten seconds."""
    with manifest.open(newline="") as lines:
        header, first, *_ = csv.reader(lines)
    folder.mkdir()
    place = header.index("path")
    with (folder / "m.csv").open("w", newline="") as out, (folder / "q.csv").open("w") as queries:
        csv.writer(out, lineterminator="\n").writerow(header)
        queries.write("path,class\n")
        for i in range(count):
            name = f"class{i % 1000}/video{i:09d}.mp4"
            csv.writer(out, lineterminator="\n").writerow([*first[:place], name, *first[place + 1 :]])
            if i:  # one has no query
                queries.write(f"{name},{i % 9}\n")
    info = json.loads(manifest.with_suffix(".json").read_text())
    (folder / "m.json").write_text(json.dumps({**info, "root": ".", "rows": count}))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(toy_manifest, tmp_path):
    used = {}
    for count in (10_000, 400_000):
        many(tmp_path / str(count), toy_manifest, count)
        argv = [sys.executable, "-c", MEMORY, str(tmp_path / str(count))]
        done = subprocess.run(argv, env=ENV, capture_output=True, text=True, check=True)
        used[count] = int(done.stdout.split()[-1])
    size = (tmp_path / "400000" / "m.csv").stat().st_size >> 20
    print(used, f"MiB; the larger manifest has {size} MiB")
    assert used[400_000] - used[10_000] < 24
    assert size > 48  # held in memory it would show


@pytest.mark.real
def test_a_real_teacher_on_real_clips(real_data, tmp_path):
    """It loads strictly with and without pad_type=same; only with it, it knows what it sees."""
    from vssl.data.index import build
    from vssl.data.layouts import LAYOUTS

    root = tmp_path / "videos"
    clips = sorted((real_data / "ucf101" / "UCF-101").glob("*/*_c01.avi"))[::2][:6]
    assert len(clips) == 6
    for clip in clips:
        (root / clip.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, root / clip.parent.name)
    build(LAYOUTS["folder"](root, None, "few"), out=tmp_path / "few.csv", num_workers=1, timeout_s=60)
    file = real_data / "teachers" / "mobilenetv2_100_imagenet.pth"
    card = {"mean": [0.5] * 3, "std": [0.5] * 3}
    teacher = Classifier("mobilenetv2_100", file, model_kwargs={"pad_type": "same"}, **card)
    source, manifest = ManifestStream(tmp_path / "few.csv"), Manifest.load(tmp_path / "few.csv")
    punching_bag, names = 747, [manifest.name(row) for row in range(len(manifest))]
    file = listed(tmp_path / "q.csv", dict.fromkeys(names, punching_bag))
    rule = Rule(min_seconds=0.0, first_frames=25)
    curate(source, teacher, queries=file, out=tmp_path / "kept.csv", rule=rule)
    print([json.loads(line) for line in (tmp_path / "kept.curation.jsonl").read_text().splitlines()[1:]])
