"""VideoNet's curation (vito.md 4): keep a video iff an image classifier sees, early in it, what was searched for.

A stream from manifest to manifest: memory depends on the length of no list, and a killed run continues where its
journal ends.
"""

import json
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import torch
from jaxtyping import UInt8
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from vssl.data.classifier import Classifier
from vssl.data.journal import Entry, Journal
from vssl.data.manifest_file import replace_file
from vssl.data.manifest_stream import ManifestStream, file_hash, write
from vssl.data.queries import Queries
from vssl.data.reader import ReadError, Video, read
from vssl.errors import UserError
from vssl.views.augment import center, cut, draw_box

VERDICTS = ("kept", "other class", "short", "no query", "unreadable")
_NUMBERS = ("num_frames", "fps", "height", "width", "rotation", "stream")
_FLUSH_ROWS = 1024


def keep(
    query: int, top1s: Sequence[int], seconds: float, *, first_frames: int = 100, min_seconds: float = 10.0
) -> bool:
    """Whether a video stays: long enough, and its query class top-1 in at least one of its first frames.

    Args:
        query: Class that the video was retrieved for.
        top1s: Top-1 class of each frame, from the first frame on.
        seconds: Length of the video.
        first_frames: How many frames count.
        min_seconds: Shortest video that stays.
    """
    return seconds >= min_seconds and query in top1s[:first_frames]


class Rule(NamedTuple):
    """The numbers of the rule."""

    min_seconds: float = 10.0
    first_frames: int = 100


class _Row(NamedTuple):
    number: int
    path: str
    video: Video
    seconds: float
    query: int | None

    def refused(self, rule: Rule) -> str | None:
        """Why the video need not be opened."""
        if self.query is None:
            return "no query"
        if self.video.num_frames == 0:
            return "unreadable"
        return "short" if self.seconds < rule.min_seconds else None


def curate(
    source: ManifestStream,
    classifier: Classifier,
    *,
    queries: Path,
    out: Path,
    rule: Rule = Rule(),
    num_workers: int = 1,
    flush_s: float = 1.0,
) -> dict[str, Any]:
    """Write the manifest of the videos that stay, a report, and a verdict for every row.

    Beside `out` (.csv, .json) come `.curation.json`, the report, and `.curation.jsonl`, one verdict per row, which is
    also the journal: the same call continues a run that was killed, and ends in the same files.

    Args:
        source: All videos.
        classifier: Judges the frames.
        queries: CSV with the columns path and class (an index of the classifier); what it does not list is dropped.
        out: The .csv to write.
        rule: Shortest video, and how many frames are looked at.
        num_workers: Threads that decode; each holds one video's first frames at full size.
        flush_s: Verdicts reach the disk at least so often.

    Returns:
        The report.

    Raises:
        UserError: `queries` is no such CSV, `out` is no CSV or the source itself, or a journal of other settings lies
            there.
    """
    if out.suffix != ".csv" or out.resolve() == source.path.resolve():
        raise UserError(out, "the curated manifest is a new .csv file", f"Try {source.path.stem}-curated.csv")
    with closing(Queries(queries, classifier.num_classes)) as wanted:
        asked = {
            "manifest": source.content_hash,
            "queries": file_hash(queries),
            "classifier": classifier.card,
            "rule": rule._asdict(),
        }
        with closing(Journal(out.with_suffix(".curation.jsonl"), asked)) as journal:
            rows = _rows(source, wanted, start=journal.num_entries)
            verdicts = _judge(rows, classifier, rule=rule, num_workers=num_workers)
            _record(verdicts, journal, total=source.num_rows, flush_s=flush_s)
            report = {**asked, **_count(journal)}
            info = {k: source.info[k] for k in ("dataset", "readers") if k in source.info}
            info |= {"curation": report, "bad": [], "missing": [], "duplicates": [], "unlisted": []}
            write(out, _kept(source, journal), schema=source.schema, info=info, root=source.root)
    replace_file(out.with_suffix(".curation.json"), json.dumps(report, indent=1).encode())
    return report


def _rows(source: ManifestStream, wanted: Queries, *, start: int) -> Iterator[_Row]:
    """The source's rows from `start` on."""
    first = 0
    for batch in source.batches():
        skip = min(max(start - first, 0), batch.num_rows)
        lines = batch.slice(skip).select([*_NUMBERS, "path", "seek", "keyframes"]).to_pylist()
        for number, line in enumerate(lines, first + skip):
            path, fps = line.pop("path"), line.pop("fps")
            video = Video(path=str(source.root / path), **line)
            seconds = video.num_frames / fps if fps > 0 else 0.0
            yield _Row(number, path, video, seconds, query=wanted.get(path))
        first += batch.num_rows


def _judge(rows: Iterator[_Row], classifier: Classifier, *, rule: Rule, num_workers: int) -> Iterator[Entry]:
    """A verdict for every row, in order: threads decode ahead, this one classifies."""
    waiting: deque[tuple[_Row, str | Future[Tensor]]] = deque()
    with ThreadPoolExecutor(num_workers) as pool:
        for row in rows:
            waiting.append(
                (row, row.refused(rule) or pool.submit(_first_frames, row.video, rule.first_frames, classifier.size))
            )
            if len(waiting) > 2 * num_workers:
                yield _verdict(*waiting.popleft(), classifier=classifier, rule=rule)
        while waiting:
            yield _verdict(*waiting.popleft(), classifier=classifier, rule=rule)


def _first_frames(video: Video, count: int, size: int) -> UInt8[Tensor, "n 3 s s"]:
    """The first frames' central squares, as the classifier's publishers evaluate."""
    frames = read(video, torch.arange(min(count, video.num_frames)))
    look = center(0.875, "bicubic")
    box = draw_box(look, height=video.height, width=video.width, size=size, rng=torch.Generator())
    where, still = torch.arange(len(frames)), torch.zeros(1, dtype=torch.bool)
    return cut(frames, where, torch.tensor([box], dtype=torch.float64), still, size, "bicubic")


def _verdict(row: _Row, found: str | Future[Tensor], *, classifier: Classifier, rule: Rule) -> Entry:
    entry: Entry = {"row": row.number, "path": row.path, "query": row.query, "verdict": found, "frame": None}
    if isinstance(found, str):
        return entry
    try:
        frames = found.result()
    except ReadError:
        return entry | {"verdict": "unreadable"}
    assert row.query is not None
    top1s: list[int] = []
    for chunk in classifier.top1s(frames):
        top1s += chunk
        if keep(row.query, top1s, row.seconds, **rule._asdict()):
            return entry | {"verdict": "kept", "frame": top1s.index(row.query)}
    return entry | {"verdict": "other class"}


def _record(verdicts: Iterator[Entry], journal: Journal, *, total: int, flush_s: float) -> None:
    columns = (TextColumn("curating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("curating", total=total, completed=journal.num_entries)
        pending: list[Entry] = []
        flushed = time.monotonic()
        for entry in verdicts:
            pending.append(entry)
            if len(pending) >= _FLUSH_ROWS or time.monotonic() - flushed >= flush_s:
                journal.append(pending)
                progress.advance(task, len(pending))
                pending, flushed = [], time.monotonic()
        journal.append(pending)
        progress.advance(task, len(pending))


def _count(journal: Journal) -> dict[str, Any]:
    """Verdicts of the whole, and of every class how many were asked for and how many stay."""
    verdicts: Counter[str] = Counter()
    asked: Counter[int] = Counter()
    kept: Counter[int] = Counter()
    for entry in journal.entries():
        verdicts[entry["verdict"]] += 1
        if entry["query"] is not None:
            asked[entry["query"]] += 1
            kept[entry["query"]] += entry["verdict"] == "kept"
    return {
        "videos": verdicts.total(),
        "verdicts": {name: verdicts[name] for name in VERDICTS},
        "classes": {str(c): {"asked": asked[c], "kept": kept[c]} for c in sorted(asked)},
    }


def _kept(source: ManifestStream, journal: Journal) -> Iterator[pa.RecordBatch]:
    entries = journal.entries()
    for batch in source.batches():
        mask = [entry["verdict"] == "kept" for _, entry in zip(range(batch.num_rows), entries, strict=False)]
        yield batch.filter(pa.array(mask, pa.bool_()))
