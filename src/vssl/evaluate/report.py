"""One offline page: tables, pictures drawn as inline SVG, protocol records. Nothing is fetched from anywhere."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from vssl import staged
from vssl._version import __version__
from vssl.evaluate import charts, confusion, literature, render, summary, words
from vssl.evaluate.protocol import HARD, INFO, SOFT
from vssl.evaluate.result import BASELINE, TRAINED
from vssl.evaluate.rows import Group, Row
from vssl.evaluate.stats import BEATS, BELOW, FEW, MIN_GROUPS, MIN_VIDEOS, UNRESOLVED


def page(groups: list[Group], runs: list[Path], *, lost: Sequence[str] = (), galleries: Sequence[Any] = ()) -> str:
    """The report as HTML.

    Args:
        groups: What `table.build` made.
        runs: Run directories; their training curves are drawn where they wrote any.
        lost: What was asked for and could not be had, a line each.
        galleries: Of `gallery.build`, which needs the videos.
    """
    source = resources.files("vssl.evaluate").joinpath("report.html").read_text(encoding="utf-8")
    # the page shows names from files and folders: everything is escaped, and a misspelt name is an error
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    parts = dict.fromkeys(part for run in runs for part in staged.phases(run))
    curves = [found for part in parts if (found := charts.curve(part))]
    return environment.from_string(source).render(
        version=__version__,
        groups=[_group(i, group) for i, group in enumerate(groups)],
        summaries=summary.build(groups),
        words=words,
        encoders=_encoders(groups),
        apart=render.apart(groups),
        curves=curves,
        unread=render.unread(groups),
        lost=lost,
        galleries=galleries,
        literature=[(name, rows) for name in _datasets(groups) if (rows := literature.rows(dataset=name))],
    )


def _group(index: int, group: Group) -> dict[str, Any]:
    dots, axis = charts.dots(group)
    trained = [row for row in group.rows if row.kind == TRAINED]
    columns = words.columns(group)[:-1]  # flags stand below the method, where nobody needs to scroll for them
    return {
        "id": f"group-{index}",
        "key": group.key,
        "name": group.record["name"],
        "columns": columns,
        "numeric": words.numeric(group),
        "rows": [{"kind": row.kind, "cells": words.cells(group, row)[:-1], "flags": row.flags} for row in group.rows],
        "control": "the same network from scratch" if words.from_scratch(group.record) else "random initialisations",
        "findings": [_finding(row) for row in trained],
        "notes": group.notes,
        "pairs": _pairs(group),
        "heats": [heat for row in trained if (heat := confusion.heat(group, row))],
        "metric": words.heading(group.metrics[0]),
        "dots": dots,
        "axis": axis,
        "classes": [part for row in trained if (part := _classes(group, row))],
        "details": [_details(row) for row in group.rows],
        "record": [(part, sorted(group.record[part].items())) for part in (HARD, INFO)],
        "soft": sorted({name for row in group.rows for name in row.first.protocol[SOFT]}),
    }


def _datasets(groups: list[Group]) -> list[str]:
    return list(dict.fromkeys(group.key.dataset for group in groups))


def _encoders(groups: list[Group]) -> list[dict[str, str]]:
    """Compute and origin of every encoder, once."""
    found = {row.family: _encoder(row) for group in groups for row in group.rows}
    return sorted(found.values(), key=lambda encoder: (encoder["kind"] != TRAINED, encoder["kind"] == BASELINE))


def _encoder(row: Row) -> dict[str, str]:
    record = row.first.pretraining
    runs = row.runs or [row]
    hours = [run.first.pretraining.get("hours") for run in runs]
    clips = record.get("clips_seen")
    known = [hour for hour in hours if hour is not None]
    return {
        "kind": row.kind,
        "who": words.who(row),
        "network": words.backbone(row),
        "parameters": words.count(row.first.backbone["num_parameters"]) if row.kind != BASELINE else "-",
        "seen": words.seen(row),
        "clips": "-" if clips is None else words.count(clips),
        "hours": " + ".join(f"{hour:.2g}" for hour in known) or "-",
        "processes": str(record.get("world_size", "-")),
        "labels": words.labels(row),
    }


def _pairs(group: Group) -> dict[str, Any] | None:
    """The matrix of paired differences; None where there is nothing to compare."""
    ranked = [i for i, row in enumerate(group.rows) if row.rank]
    if len(ranked) < 2:
        return None
    rows = []
    for i in ranked[:-1]:
        cells = [group.pairs.get((i, j)) for j in ranked[1:]]
        rows.append((words.who(group.rows[i]), cells))
    return {"columns": [words.who(group.rows[j]) for j in ranked[1:]], "rows": rows}


def _finding(row: Row) -> dict[str, str]:
    """One sentence that claims no more than the interval allows."""
    who, found = words.who(row), row.versus
    if not row.clean:
        saw = row.first.leak
        return {
            "who": who,
            "verdict": "LEAKED",
            "text": f"pretraining saw {saw}: not ranked, not averaged, not compared.",
        }
    if found is None:
        return {"who": who, "verdict": "no control", "text": "nothing to compare with: no random control was scored."}
    scratch = words.from_scratch(row.first.protocol)
    control = "the same network trained from scratch" if scratch else "its random initialisations"
    numbers = f"{found.difference:+.1f} points against {control}, 95 % interval {found.low:+.1f} to"
    numbers += f" {found.high:+.1f}, {found.num_videos} videos from {found.num_groups} groups"
    meaning = {
        BEATS: "The interval lies above 0: pretraining helped on this label.",
        BELOW: "The interval lies below 0: on this label the pretrained network is worse than "
        f"{'trained from scratch' if scratch else 'as initialised'}.",
        UNRESOLVED: "The interval contains 0: no difference is shown, in either direction.",
        FEW: f"Fewer than {MIN_VIDEOS} test videos or {MIN_GROUPS} groups: too few to say anything.",
    }[found.verdict]
    return {"who": who, "verdict": found.verdict, "text": f"{numbers}. {meaning}"}


def _classes(group: Group, row: Row) -> dict[str, Any] | None:
    bars, left_out = charts.bars(group, row)
    return {"who": words.who(row), "bars": bars, "left_out": left_out} if bars else None


def _details(row: Row) -> dict[str, Any]:
    """Compute and origin of one encoder."""
    first = row.first
    budget = {k: v for k, v in first.pretraining.items() if k not in ("data", "method", "labels_used")}
    return {
        "who": words.who(row),
        "backbone": words.backbone(row),
        "num_parameters": words.count(first.backbone["num_parameters"]),
        "seen": words.seen(row),
        "labels": words.labels(row),
        "budget": ", ".join(f"{k} {_number(v)}" for k, v in sorted(budget.items())) or "-",
        "checkpoint": f"step {first.checkpoint['step']}, {first.checkpoint['sha'][:10]}" if first.checkpoint else "-",
        "input": ", ".join(f"{k} {v}" for k, v in first.card.items()),
        "gallery": ", ".join(f"s{s}: {f[0].num_gallery} of {f[0].num_gallery_listed}" for s, f in row.results.items()),
    }


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
