"""From results to groups of rows that may be ranked together. Reads records only; no torch."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from vssl.evaluate import families, stats, words
from vssl.evaluate.families import Origin
from vssl.evaluate.protocol import SOFT, fields_that_differ
from vssl.evaluate.result import BASELINE, RANDOM, TRAINED, Result
from vssl.evaluate.rows import Group, GroupKey, Row, identity, recipe
from vssl.evaluate.stats import Comparison

LEAKED, INCOMPLETE, UNKNOWN = "LEAKED", "incomplete", "pretraining data unknown"
SKIPPED_SHARE = 0.001
"""Above this share of unread videos a score is ranked only with scores that miss the same ones."""


def build(results: Iterable[Result], origins: Mapping[str, Origin] | None = None) -> list[Group]:
    """Groups in a fixed order, each with its trained rows ranked and its controls below them.

    Args:
        results: Of any runs.
        origins: Run -> seed and recipe (`families.origin`); runs of one recipe become one row.
    """
    unique = {(r.run, r.key): r for r in results}.values()
    trained = [r for r in unique if r.kind == TRAINED]
    controls = [r for r in unique if r.kind != TRAINED]
    keys = sorted({_key(r) for r in trained} | {_key(r) for r in controls if not _has_trained(r, trained)})
    groups = []
    for key in keys:
        own = [r for r in trained if _key(r) == key]
        # a control used no labels; it stands in every group of its protocol and videos that has its run or network
        shared = [r for r in controls if _key(r)[:4] == key[:4]]
        runs, networks = {r.run for r in own}, {identity(r) for r in own}
        beside = [r for r in shared if not own or r.run in runs or identity(r) in networks]
        groups.append(_group(key, own, beside, origins or {}))
    return groups


def differences(a: Group, b: Group) -> dict[str, tuple[Any, Any]]:
    """Why two groups may not be ranked together: every field that differs, with both values."""
    names = [name for name in GroupKey._fields if name != "fingerprint"]
    pairs = {name: (getattr(a.key, name), getattr(b.key, name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]} | fields_that_differ(a.record, b.record)


def _key(result: Result) -> GroupKey:
    used = str(result.pretraining.get("labels_used", "none"))
    return GroupKey(result.dataset, result.label, result.manifest, result.fingerprint, used)


def _has_trained(control: Result, trained: list[Result]) -> bool:
    return any(_key(r)[:4] == _key(control)[:4] for r in trained)


def _group(key: GroupKey, trained: list[Result], controls: list[Result], origins: Mapping[str, Origin]) -> Group:
    rows = families.merge(_rows(trained, lambda r: (r.run, r.checkpoint["sha"], recipe(r))), origins)
    random = _rows([r for r in controls if r.kind == RANDOM], lambda r: (identity(r), recipe(r)))
    baselines = _rows([r for r in controls if r.kind == BASELINE], lambda r: (r.name, identity(r), recipe(r)))
    splits = sorted({split for row in [*rows, *random, *baselines] for split in row.results})
    # the protocol as published, where it is there: its name is the shortest
    record = min((r.protocol for r in trained or controls), key=_plainness)
    group = Group(key, record, [], splits)
    random.sort(key=lambda row: _plainness(row.first.protocol))
    baselines.sort(key=lambda row: _plainness(row.first.protocol))
    for row in [*rows, *random, *baselines]:
        if row.first.protocol["name"] != record["name"]:
            row.flags.append(row.first.protocol["name"])
            row.family += f" {recipe(row.first)}"
    for row in [*rows, *random, *baselines]:
        if row.clean:
            row.mean = stats.interval(row.scores(row.clean))
    for row in rows:
        row.versus = _versus(row, random)
    _flag(group, rows)
    _rank(group, rows)
    rows.sort(key=lambda row: (row.rank is None, row.rank or 0, row.name, row.run))
    group.rows = [*rows, *random, *baselines]
    _note(group, rows)
    return group


def _plainness(record: Mapping[str, Any]) -> tuple[int, str]:
    return len(record["name"]), record["name"]


def _rows(results: list[Result], identity_of: Any) -> list[Row]:
    """One row per identity; seeds of one random network share a row, copies of one measurement are dropped."""
    rows: dict[Any, Row] = {}
    for result in sorted(results, key=lambda r: (r.name, r.run, r.split, r.key)):
        name = result.name if result.kind != RANDOM else words.control(result.protocol)
        run = result.run if result.kind == TRAINED else ""
        row = rows.setdefault(identity_of(result), Row(result.kind, name, run, {}))
        row.family = f"{name} {run} {identity(result)}"
        found = row.results.setdefault(result.split, [])
        if result.key not in [r.key for r in found]:
            found.append(result)
    runs = [row.run for row in rows.values()]
    several = {row.run for row in rows.values() if row.kind == TRAINED and runs.count(row.run) > 1}
    for run in several:
        own = [row for row in rows.values() if row.run == run]
        if len({row.first.checkpoint["sha"] for row in own}) > 1:
            for row in own:
                row.run += f" step {row.first.checkpoint['step']}"
    return list(rows.values())


def _versus(row: Row, random: list[Row]) -> Comparison | None:
    for control in random:
        if (identity(control.first), recipe(control.first)) == (identity(row.first), recipe(row.first)):
            splits = [split for split in row.clean if split in control.results]
            if splits:
                theirs = [control.results[split] for split in splits]
                seeds = min(len(found) for found in theirs)
                return stats.compare(
                    row.scores(splits), [[found[i].scores() for found in theirs] for i in range(seeds)]
                )
    return None


def _flag(group: Group, rows: list[Row]) -> None:
    """Stamp what a reader must know before comparing."""
    every = [_missing(row) for row in rows]
    for row in rows:
        scored, listed = row.counts()
        if leaked := [split for split in row.results if split not in row.clean]:
            row.flags.append(f"{LEAKED} (split {', '.join(map(str, leaked))})")
        if scored < listed:
            row.flags.append(f"not read: {listed - scored}")
        lacks, gallery = row.unread_gallery()
        if lacks:
            row.flags.append(f"train videos not read: {lacks}")
        same = all(missing == _missing(row) for missing in every)
        if (listed - scored > SKIPPED_SHARE * listed or lacks > SKIPPED_SHARE * gallery) and not same:
            row.flags.append(INCOMPLETE)
        data = row.first.pretraining.get("data")
        if not data or data.get("unknown"):
            row.flags.append(UNKNOWN)
        if frozen := row.first.pretraining.get("frozen"):
            row.flags.append(f"learnt from {frozen}")
        if row.clean and row.versus is None:
            row.flags.append("no random control")
    group.ranked_on = sorted(set.intersection(*[set(row.clean) for row in rows if row.clean] or [set()]))


def _rank(group: Group, rows: list[Row]) -> None:
    """Order by the mean over the splits that all have; leaked and incomplete rows get no rank."""
    able = [row for row in rows if row.clean and INCOMPLETE not in row.flags]
    if not group.ranked_on or not able:
        return
    top1 = {id(row): float(np.mean([np.mean(row.values[split]) for split in group.ranked_on])) for row in able}
    able.sort(key=lambda row: -top1[id(row)])
    for row in able:
        row.rank = 1 + sum(top1[id(other)] > top1[id(row)] for other in able)
    if len(able) > 1:
        group.leader = stats.compare(able[0].scores(group.ranked_on), [able[1].scores(group.ranked_on)])


def _note(group: Group, rows: list[Row]) -> None:
    """Sentences that belong under the table."""
    soft: dict[str, None] = {}
    for row in rows[1:]:
        soft |= dict.fromkeys(fields_that_differ(rows[0].first.protocol, row.first.protocol, SOFT))
        for name in ("data", "clips_seen"):
            if rows[0].first.pretraining.get(name) != row.first.pretraining.get(name):
                soft[f"pretraining.{name}"] = None
    if soft:
        group.notes.append(f"Soft fields differ between rows: {', '.join(soft)}.")
    if rows and not group.ranked_on:
        group.notes.append("No split is shared by all rows without a leak: nothing is ranked.")
    elif len(rows) > 1 and group.splits != group.ranked_on:
        group.notes.append(f"Ranked on split {', '.join(map(str, group.ranked_on))}, which all rows share.")
    for split, (listed, official) in sorted(_short(group.rows).items()):
        group.notes.append(f"Not the official test list: split {split} has {listed} of its {official} videos here.")
    group.notes += [_over_runs(row) for row in rows if row.runs]
    ranked = [row for row in rows if row.rank]
    if group.leader and len(ranked) > 1:
        group.notes.append(words.against(ranked[0], ranked[1], group.leader))


def _over_runs(row: Row) -> str:
    """The runs behind a row, each with its mean, and their spread."""
    each = [f"{run.run}{_seed(run)} {_mean(run):.1f}" for run in row.runs]
    found = families.spread(row)
    sd = f"; mean {found.mean:.1f}, standard deviation {found.sd:.1f}" if found else ""
    return f"{row.name}, {row.many}: {', '.join(each)}{sd}."


def _seed(run: Row) -> str:
    splits = ", ".join(map(str, run.clean))
    return f" (split {splits})" if run.seed is None else f" (seed {run.seed}, split {splits})"


def _mean(run: Row) -> float:
    return float(np.mean([v for split in run.clean for v in run.values[split]]))


def _short(rows: list[Row]) -> dict[int, tuple[int, int]]:
    """Splits of which the manifest holds fewer test videos than the official list: split -> (here, official)."""
    every = [result for row in rows for found in row.results.values() for result in found]
    pairs = {r.split: (r.num_listed, r.num_official) for r in every if r.num_official is not None}
    return {split: (here, official) for split, (here, official) in pairs.items() if here < official}


def _missing(row: Row) -> frozenset[tuple[int, str]]:
    return frozenset((split, f["path"]) for split, found in row.results.items() for r in found for f in r.failures)
