import json

import pytest

from vssl.errors import UserError
from vssl.evaluate.result import find, key, of_run, read, write


def test_a_result_reads_back_equal(tmp_path, make_result):
    result = make_result()
    path = write(result, tmp_path / "run" / "results")
    assert read(path) == result
    assert of_run(tmp_path / "run") == [result]
    assert of_run(tmp_path / "run" / "results") == [result]
    assert find(path.parent, result.key) == result
    assert find(path.parent, "0" * 12) is None


def test_writing_again_replaces_and_leaves_no_draft(tmp_path, make_result):
    result = make_result()
    write(result, tmp_path)
    write(result, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [result.file_name]


def test_file_names_are_safe_and_readable(make_result):
    name = make_result(label="a/../b", dataset="my set").file_name
    assert "/" not in name
    assert " " not in name
    assert name.startswith("my_set-s1-a_.._b-knn-v1-VSPP-")


def test_keys_follow_the_content():
    assert key(a=1, b=[2]) == key(b=[2], a=1)
    assert key(a=1) != key(a=2)


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "is not a result file"), ("[]", "has result schema None"), ('{"schema": 99}', "has result schema 99")],
)
def test_a_foreign_file_is_refused(tmp_path, text, words):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        read(path)


def test_a_missing_field_is_named(tmp_path, make_result):
    path = write(make_result(), tmp_path)
    data = json.loads(path.read_text())
    del data["label"]
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"does not hold the fields of a result \(label\)"):
        read(path)


def test_missing_and_empty_runs_are_refused(tmp_path):
    with pytest.raises(UserError, match="is not a directory"):
        of_run(tmp_path / "none")
    with pytest.raises(UserError, match=r"has no results\. Score it first: vssl evaluate"):
        of_run(tmp_path)


def test_scores_are_right_or_wrong_per_video(make_result):
    predictions = {"row": [3, 5], "predicted": [0, 1], "true": [0, 0], "group": [9, 9]}
    scores = make_result(predictions=predictions).scores()
    assert scores.values.tolist() == [1.0, 0.0]
    assert scores.ids.tolist() == [3, 5]
