"""On a small toy world that is encoded for real."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from vssl.data.manifest import Manifest
from vssl.evaluate.features import Features
from vssl.evaluate.gallery import NUM_ANSWERS, build, preview


@pytest.fixture(scope="module")
def world(toy_manifest):
    return Manifest.load(toy_manifest)


def test_a_preview_is_a_small_moving_picture(world):
    head, text = preview(world, 0).split(",")
    assert head == "data:image/webp;base64"
    raw = base64.b64decode(text)
    assert len(raw) < 40_000
    with Image.open(io.BytesIO(raw)) as picture:
        assert (picture.width, picture.n_frames) == (96, 8)
        frames = []
        for i in range(8):
            picture.seek(i)
            frames.append(np.asarray(picture.convert("RGB"), float))
    assert np.abs(frames[0] - frames[-1]).max() > 20


def test_a_file_that_does_not_decode_has_no_picture(world, tmp_path):
    broken = Manifest(world.path, table=world.table, info=world.info, root=tmp_path, content_hash="x")
    path = broken.file(0)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no video")
    assert preview(broken, 0) == ""


def test_answers_are_the_nearest_train_videos(world):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(len(world), 6)).astype(np.float32)
    found = build("VITO", Features(np.arange(len(world)), values, []), world, split=1, label="shape")
    ids, classes = world.labels("shape")
    train, test = (world.listed(1, part) for part in ("train", "test"))
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    names = {world.name(row): row for row in range(len(world))}
    assert len(found.queries) == min(6, len(test))
    for query, answers in found.queries:
        row = names[query.alt.partition(",")[0]]
        assert row in test
        expected = train[np.argsort(-(unit[train] @ unit[row]))[:NUM_ANSWERS]]
        assert [names[shown.alt.partition(",")[0]] for shown in answers] == expected.tolist()
        assert [shown.right for shown in answers] == (ids[expected] == ids[row]).tolist()
        assert [shown.label for shown in answers] == [classes[i] for i in ids[expected]]
