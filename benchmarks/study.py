"""Does a first phase help? auxSKD then a pretext against the pretext alone, over several seeds, with intervals.

    python benchmarks/study.py --manifest data/toy/motion/manifest.csv --out runs/study
    python benchmarks/study.py ... --pretext vcop --seeds 1 2 3 --protocols knn-v1 linear-v1 --labels speed motion

Three arms, each with the same seeds: both phases; the pretext alone for as many steps as phase 2 has; and the pretext
alone for the steps of both phases, so that a gain is not the longer training's. Every run goes through `vssl fit` and
`vssl evaluate`; what is finished is not repeated, and a killed study continues with the same command. Words behind `--`
go to every `vssl fit`.

Two intervals for every difference: over source groups of the test videos (bootstrap, paired, of the mean over seeds;
docs/evaluation.md), and over seeds (Student's t of the per-seed differences). The first says whether these runs differ
on other videos, the second whether other runs would.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from vssl import staged
from vssl.cli import main as vssl
from vssl.evaluate import stats
from vssl.evaluate.result import RANDOM, TRAINED, Result, of_run

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "method" / "toy"
T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""97.5 % quantile of Student's t by degrees of freedom."""


def arms(pretext: str, out: Path) -> dict[str, tuple[Path, list[str]]]:
    """Name -> staged layer and flags; a pretext alone is a run of one stage, which continues by itself."""
    steps = [_max_steps(CONFIGS / f"{name}.yaml") for name in ("auxskd", pretext)]
    alone = out / f"{pretext}.yaml"
    alone.parent.mkdir(parents=True, exist_ok=True)
    alone.write_text(yaml.safe_dump({"stages": [{"name": pretext, "config": str(CONFIGS / f"{pretext}.yaml")}]}))
    return {
        f"auxskd-then-{pretext}": (CONFIGS / f"auxskd-then-{pretext}.yaml", []),
        pretext: (alone, []),
        f"{pretext}-long": (alone, [f"--trainer.max_steps={sum(steps)}"]),
    }


def _max_steps(layer: Path) -> int:
    return int(yaml.safe_load(layer.read_text())["trainer"]["max_steps"])


def train(args: argparse.Namespace, plan: dict[str, tuple[Path, list[str]]]) -> dict[str, list[Path]]:
    """Arm -> run directories, one per seed; seeds outermost, so that a killed study has whole comparisons."""
    runs: dict[str, list[Path]] = {name: [] for name in plan}
    for seed in args.seeds:
        for name, (layer, flags) in plan.items():
            run = args.out / f"{name}-s{seed}"
            where = [f"--data.manifest={args.manifest}", f"--seed_everything={seed}", f"--run_dir={run}"]
            _must(["fit", "-c", str(layer), *where, *flags, *args.more])
            runs[name].append(run)
    return runs


def evaluate(args: argparse.Namespace, runs: list[Path]) -> None:
    """Score what has no score yet: one pass over the videos serves all runs, which share their controls."""
    shared = ["--data.manifest", str(args.manifest), "--label", ",".join(args.labels)]
    _must(["evaluate", *map(str, runs), "--protocol", ",".join(args.protocols), *shared])


def _must(argv: list[str]) -> None:
    if code := vssl(argv):
        raise SystemExit(code)


def found(run: Path, kind: str, *, protocol: str, label: str) -> list[Result]:
    """Results of a run of one kind, by name."""
    every = of_run(staged.last_stage(run))
    own = [r for r in every if (r.kind, r.protocol["name"], r.label) == (kind, protocol, label)]
    return sorted(own, key=lambda r: r.name)


def difference(ours: list[Result], theirs: list[Result]) -> dict[str, Any]:
    """Mean over seeds, ours minus theirs in points, with both intervals; one result per seed on each side."""
    over_videos = stats.compare([stats.mean_of([r.scores() for r in ours])], [[r.scores()] for r in theirs])
    each = np.array([a.metrics["top1"] - b.metrics["top1"] for a, b in zip(ours, theirs, strict=True)])
    half = T_975[len(each) - 1] * each.std(ddof=1) / math.sqrt(len(each)) if len(each) > 1 else math.inf
    return over_videos._asdict() | {
        "per_seed": each.tolist(),
        "seeds_low": float(each.mean() - half),
        "seeds_high": float(each.mean() + half),
    }


def report(args: argparse.Namespace, runs: dict[str, list[Path]]) -> list[dict[str, Any]]:
    """One record per protocol, label and arm; the difference is the first arm's to this one."""
    records = []
    first, *_ = runs
    for protocol in args.protocols:
        for label in args.labels:
            scores = {
                name: [found(run, TRAINED, protocol=protocol, label=label)[0] for run in own]
                for name, own in runs.items()
            }
            random = found(runs[first][0], RANDOM, protocol=protocol, label=label)
            common = {"protocol": protocol, "label": label}
            for name, results in scores.items():
                top1 = [r.metrics["top1"] for r in results]
                clips = results[0].pretraining["clips_seen"]
                versus = None if name == first else difference(scores[first], results)
                records.append({**common, "arm": name, "clips_seen": clips, "top1": top1, "versus": versus})
            controls = [r.metrics["top1"] for r in random]
            records.append({**common, "arm": "random init", "clips_seen": 0, "top1": controls, "versus": None})
    return records


def show(records: list[dict[str, Any]], first: str, console: Console) -> None:
    """The records as a table."""
    table = Table(title=f"{first}: difference to each other arm, in points")
    for column in ("protocol", "label", "arm", "clips seen", "top-1 (each seed)", "difference", "over videos"):
        table.add_column(column)
    for column in ("over seeds", "verdict on these videos"):
        table.add_column(column)
    for r in records:
        each = f"{np.mean(r['top1']):.1f} ({' '.join(f'{value:.1f}' for value in r['top1'])})" if r["top1"] else "-"
        cells = [r["protocol"], r["label"], r["arm"], str(r["clips_seen"]), each]
        if v := r["versus"]:
            cells += [f"{v['difference']:+.1f}", f"[{v['low']:+.1f}, {v['high']:+.1f}]"]
            cells += [f"[{v['seeds_low']:+.1f}, {v['seeds_high']:+.1f}]", v["verdict"]]
        table.add_row(*cells)
    console.print(table)


def main() -> None:
    """Train, score, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True, help="toy world, nuisance constant")
    parser.add_argument("--out", type=Path, required=True, help="folder of all runs, and of study.json")
    parser.add_argument("--pretext", default="vspp", help="vspp, videopace, vcop or rspnet (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of training (default: 0 1 2)")
    parser.add_argument("--without-long", action="store_true", help="leave the third arm out: a third less to compute")
    parser.add_argument("--protocols", nargs="+", default=["knn-v1"], help="default: knn-v1")
    parser.add_argument("--labels", nargs="+", default=["speed", "motion"], help="default: speed motion")
    parser.add_argument("more", nargs="*", metavar="-- FLAG", help="for every vssl fit")
    args = parser.parse_args()
    if not 1 <= len(set(args.seeds)) == len(args.seeds) <= len(T_975) + 1:
        parser.error(f"--seeds: from 1 to {len(T_975) + 1} different ones")
    plan = arms(args.pretext, args.out)
    if args.without_long:
        del plan[f"{args.pretext}-long"]
    runs = train(args, plan)
    evaluate(args, [run for own in zip(*runs.values(), strict=True) for run in own])
    records = report(args, runs)
    (args.out / "study.json").write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")
    console = Console()
    show(records, next(iter(plan)), console if console.is_terminal else Console(width=160))
    print(f"wrote {args.out / 'study.json'}")


if __name__ == "__main__":
    main()
