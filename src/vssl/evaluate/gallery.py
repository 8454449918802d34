"""Retrieval to look at: test videos and their nearest train videos, as small moving pictures inside the page."""

import base64
import io
from typing import NamedTuple, SupportsIndex

import numpy as np
import torch
from PIL import Image

from vssl.data import reader
from vssl.data.manifest import Manifest
from vssl.evaluate.features import Features
from vssl.evaluate.knn import DECIMALS, nearest, unit

NUM_QUERIES, NUM_ANSWERS = 6, 5
_FRAMES, _SECONDS, _WIDTH = 8, 2.0, 96


class Shown(NamedTuple):
    """One video."""

    uri: str
    """The picture itself, as a data URI; empty where it could not be decoded."""
    label: str
    right: bool
    """An answer of the query's class."""
    alt: str


class Gallery(NamedTuple):
    """Queries of one encoder on one split, each with its answers from near to far."""

    who: str
    what: str
    """Data set, label and split."""
    queries: list[tuple[Shown, list[Shown]]]


def build(who: str, features: Features, manifest: Manifest, *, split: int, label: str) -> Gallery:
    """Test videos at even distances in the list and their nearest train videos by cosine; nothing is picked by hand."""
    ids, classes = manifest.labels(label)
    train, test = (
        np.intersect1d(rows[ids[rows] >= 0], features.rows)
        for rows in (manifest.listed(split, "train"), manifest.listed(split, "test"))
    )
    chosen = test[np.unique(np.linspace(0, len(test) - 1, NUM_QUERIES).round().astype(int))]
    similarity = np.round(unit(_at(features, chosen)) @ unit(_at(features, train)).T, DECIMALS)
    queries = []
    for query, own in zip(chosen, similarity, strict=True):
        near = nearest(own[None], min(NUM_ANSWERS, len(train)))[0]
        near = near[np.argsort(-own[near], kind="stable")]
        answers = [_shown(manifest, row, classes[ids[row]], bool(ids[row] == ids[query])) for row in train[near]]
        queries.append((_shown(manifest, query, classes[ids[query]], True), answers))
    return Gallery(who, f"{manifest.dataset}, {label}, split {split}", queries)


def preview(manifest: Manifest, row: SupportsIndex) -> str:
    """Frames from the middle of a video as an animated WebP data URI, 96 pixels wide; empty if it does not decode."""
    meta, video = manifest.meta(row), manifest.video(row)
    length = min(meta.num_frames, max(1, round(_SECONDS * meta.fps)))
    start = (meta.num_frames - length) // 2
    places = np.unique(np.linspace(start, start + length - 1, _FRAMES).round().astype(int))
    try:
        frames = reader.read(video, torch.from_numpy(places), "pyav")
    except reader.ReadError:
        return ""
    size = (_WIDTH, max(1, round(_WIDTH * meta.height / meta.width)))
    pictures = [Image.fromarray(frame.permute(1, 2, 0).numpy()).resize(size) for frame in frames]
    out = io.BytesIO()
    pace = round(1000 * length / meta.fps / len(pictures))
    pictures[0].save(
        out, "WEBP", save_all=True, append_images=pictures[1:], duration=pace, loop=0, quality=50, method=4
    )
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()


def _shown(manifest: Manifest, row: SupportsIndex, label: str, right: bool) -> Shown:
    return Shown(preview(manifest, row), label, right, f"{manifest.name(row)}, class {label}")


def _at(features: Features, rows: np.ndarray) -> np.ndarray:
    return features.values[np.searchsorted(features.rows, rows)]
