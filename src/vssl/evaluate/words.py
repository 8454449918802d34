"""How rows and groups are put into words: the same in the terminal, in CSV and in HTML."""

from collections.abc import Mapping
from typing import Any

from vssl.evaluate.protocol import HARD
from vssl.evaluate.result import BASELINE, RANDOM, TRAINED
from vssl.evaluate.rows import Group, Row
from vssl.evaluate.stats import BEATS, BELOW, UNRESOLVED, Comparison

NUMERIC = ("#", "mean", "95 %", "n of N", "minus random", "minus scratch")
"""Columns of figures, besides the scores."""


def backbone(row: Row) -> str:
    """Short name of a network: its `name` argument if it has one, else its class."""
    spec = row.first.backbone["spec"]
    if row.kind == BASELINE and not _weights(row):
        return "no network"
    return str(spec["init_args"].get("name") or spec["class_path"].rpartition(".")[2])


def shape(row: Row) -> str:
    """Side x frames x stride."""
    card = row.first.card
    return f"{card['size']}px x{card['frames']}" + (f"/{card['stride']}" if card["frames"] > 1 else "")


def seen(row: Row) -> str:
    """What pretraining saw."""
    if row.kind != TRAINED:
        return "nothing"
    record = row.first.pretraining
    data, clips = record.get("data"), record.get("clips_seen")
    if not data:
        return "unknown"
    amount = f"{data['num_videos']} videos" if clips is None else f"{count(clips)} clips"
    every = [run.first.pretraining["data"] for run in row.runs] or [data]
    of_runs = [dict.fromkeys(_rows(phase) for phase in (*one.get("earlier", ()), one)) for one in every]
    lists = dict.fromkeys(" + ".join(phases) for phases in of_runs)
    before = "unknown + " if data.get("unknown") else ""
    return f"{before}{' / '.join(lists)}, {amount}{' each' if row.runs else ''}"


def labels(row: Row) -> str:
    """Labels that an encoder's training used anywhere, a frozen network that it learnt from included."""
    record, arguments = row.first.pretraining, row.first.backbone["spec"]["init_args"]
    if row.kind != TRAINED:  # of the controls only a frozen network was ever trained
        trained = row.kind == BASELINE and _weights(row) not in ("", "random")
        return str(arguments.get("labels_used", "unknown")) if trained else "none"
    return str(record.get("labels_used", "none"))


def _weights(row: Row) -> str:
    return row.first.backbone["spec"]["init_args"].get("weights") or ""


def _rows(data: Mapping[str, Any]) -> str:
    subset = "" if data["subset"] == "train" else f" {data['subset']} rows"
    return f"{data['dataset']} s{data['split']}{subset}"


def count(number: float) -> str:
    """1234567 -> 1.2M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def value(row: Row, split: int) -> str:
    """The ranking metric on one split, in percent; where several runs or seeds have one, each of theirs too."""
    values = row.values.get(split)
    if not values:
        return "-"
    mean = sum(values) / len(values)
    stamp = "" if split in row.clean else " LEAKED"
    each = f" ({' '.join(f'{v:.1f}' for v in values)})" if len(values) > 1 else ""
    return f"{mean:.1f}{each}{stamp}"


def further(row: Row, metric: str) -> str:
    """Another metric: its mean over the clean splits and the seeds."""
    found = row.metric(metric)
    means = [sum(found[split]) / len(found[split]) for split in row.clean]
    return f"{sum(means) / len(means):.1f}" if means else "-"


def heading(metric: str) -> str:
    """How a metric is called."""
    return "top-1" if metric == "top1" else metric


def mean(row: Row) -> str:
    """Mean over the clean splits."""
    return "-" if row.mean is None else f"{row.mean.mean:.1f}"


def interval(row: Row) -> str:
    """95 % interval of the mean."""
    return "-" if row.mean is None else f"[{row.mean.low:.1f}, {row.mean.high:.1f}]"


def counts(row: Row) -> str:
    """Videos scored of videos listed."""
    return "{} of {}".format(*row.counts())


def versus(row: Row) -> str:
    """Difference to the mean of the control with its interval."""
    if row.versus is None:
        return "-"
    return f"{row.versus.difference:+.1f} [{row.versus.low:+.1f}, {row.versus.high:+.1f}]"


def verdict(row: Row) -> str:
    """What may be said about it."""
    return row.versus.verdict if row.versus else "-"


def against(a: Row, b: Row, found: Comparison) -> str:
    """One row against another, in a sentence that claims no more than the interval allows."""
    numbers = f"{found.difference:+.1f} points [{found.low:+.1f}, {found.high:+.1f}] on {found.num_videos} videos"
    return f"{who(a)} against {who(b)}: {numbers}: {resolved(found)}."


def resolved(found: Comparison) -> str:
    """Whether a difference is told from the videos at hand."""
    ends = {BEATS: "resolved", BELOW: "resolved", UNRESOLVED: "difference not resolved"}
    return ends.get(found.verdict, found.verdict)


def name(row: Row) -> str:
    """Method or control; the number of seeds of a random row, what the runs of a recipe are."""
    if row.kind == RANDOM:
        return f"{row.name} x{max(len(found) for found in row.results.values())}"
    return f"{row.name}, {row.many}" if row.many else row.name


def from_scratch(record: Mapping[str, Any]) -> bool:
    """Whether a protocol trains the whole network, its control's too: that one is no random network any more."""
    return record[HARD].get("frozen.trainable") == "all"


def control(record: Mapping[str, Any]) -> str:
    """What the network without pretraining is called under a protocol."""
    return "from scratch" if from_scratch(record) else "random init"


def who(row: Row) -> str:
    """Name and run; where it stands for several, how many."""
    if row.runs or not row.run:
        return name(row)
    return f"{row.name} ({row.run})"


def run(row: Row) -> str:
    """Name of the run directory, or how many there are."""
    return f"{len(row.runs)} runs" if row.runs else row.run


def title(group: Group) -> str:
    """One line over a table."""
    key, record = group.key, group.record
    used = "" if key.labels_used == "none" else f", pretraining used labels: {key.labels_used}"
    return f"{key.dataset} / {key.label} / {record['name']} ({key.fingerprint}, manifest {key.manifest[:8]}){used}"


def standing(row: Row) -> str:
    """Rank, or nothing for controls and rows that may not be ranked."""
    return str(row.rank) if row.rank else ""


def columns(group: Group) -> list[str]:
    """Headings of `cells`."""
    splits, others = of_splits(group), map(heading, group.metrics[1:])
    several = ["mean"] if len(splits) > 1 else []
    minus = "minus scratch" if from_scratch(group.record) else "minus random"
    end = ["95 %", *others, "n of N", minus, "verdict", "flags"]
    return ["#", "method", "run", "backbone", "input", "pretraining", *splits, *several, *end]


def of_splits(group: Group) -> list[str]:
    """Headings of the ranking metric on each split."""
    return [f"{heading(group.metrics[0])} s{split}" for split in group.splits]


def numeric(group: Group) -> list[bool]:
    """Which columns hold figures."""
    scores = [*NUMERIC, *of_splits(group), *map(heading, group.metrics)]
    return [name in scores for name in columns(group)]


def cells(group: Group, row: Row) -> list[str]:
    """One row of the table, in the order of `columns`."""
    splits = [value(row, split) for split in group.splits]
    several = [mean(row)] if len(splits) > 1 else []
    others = [further(row, name) for name in group.metrics[1:]]
    end = [interval(row), *others, counts(row), versus(row), verdict(row), "; ".join(row.flags)]
    return [standing(row), name(row), run(row), backbone(row), shape(row), seen(row), *splits, *several, *end]
