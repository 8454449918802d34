"""Pictures of the shots found: every cut is where it belongs, and the files say what they show."""

import numpy as np
import torch
from PIL import Image

from vssl.data.manifest import Manifest
from vssl.data.reader import read
from vssl.data.strips import COLUMNS, save_strips, strip

RED = np.array([255, 40, 40])


def test_a_strip_shows_the_video_over_time_and_its_cuts(toy_manifest):
    manifest = Manifest.load(toy_manifest)
    rows = [row for row in range(len(manifest)) if manifest.meta(row).cuts]
    uncut = next(row for row in range(len(manifest)) if not manifest.meta(row).cuts)
    assert rows
    for row in rows[:3]:
        picture, (cut,) = strip(manifest, row), manifest.meta(row).cuts
        assert picture.shape == (74, 64 * COLUMNS, 3)
        columns = np.flatnonzero((picture == RED).all((0, 2)))
        assert len(columns) == 3
        assert columns.mean() == round(cut / 48 * 64 * COLUMNS)
    assert not (strip(manifest, uncut) == RED).all((0, 2)).any()
    # frame 2 k + 1 of 48 stands in column k
    shown = strip(manifest, uncut)[:64].reshape(64, COLUMNS, 64, 3).astype(float).mean((0, 2))
    frames = read(manifest.video(uncut), torch.arange(48)).float().mean((2, 3)).numpy()
    np.testing.assert_allclose(shown, frames[1::2], atol=0.7)
    assert np.abs(shown - frames[[1] * COLUMNS]).max() > 0.7 or np.ptp(frames, axis=0).max() < 1.4


def test_videos_with_and_without_cuts_are_saved_with_their_names(toy_manifest, tmp_path):
    manifest = Manifest.load(toy_manifest)
    cut, whole = save_strips(manifest, tmp_path / "pictures")
    assert (cut.name, whole.name) == ("cut.png", "whole.png")
    lines = cut.with_suffix(".txt").read_text().splitlines()
    of_row = {manifest.name(row): manifest.meta(row).cuts for row in range(len(manifest))}
    assert lines
    for line in lines:
        name, cuts = line.split(": ")
        assert tuple(map(int, cuts.split())) == of_row[name]
    with Image.open(cut) as sheet:
        assert sheet.size == (64 * COLUMNS, 78 * len(lines))
    others = whole.with_suffix(".txt").read_text().splitlines()
    assert len(others) == 24
    assert all(line.endswith(": no cut") for line in others)


def test_a_kind_without_a_video_has_no_picture(toy_manifest, tmp_path):
    manifest = Manifest.load(toy_manifest)
    none = manifest.table.drop_columns("cuts")
    manifest = Manifest(manifest.path, table=none, info=manifest.info, root=manifest.root, content_hash="")
    assert [path.name for path in save_strips(manifest, tmp_path)] == ["whole.png"]
