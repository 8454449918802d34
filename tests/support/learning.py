"""A method trained on a toy world and scored, through the commands a user runs.

Settings were chosen on toy world 0 with network seed 100; here worlds and networks have other seeds. "Beats" is the
project's: paired bootstrap against the mean of three random initialisations, at least 200 test videos, the 95 %
interval of the difference above 0. Every run also stands beside the baselines that need no network.
"""

from pathlib import Path
from typing import NamedTuple

from support.cli import vssl
from vssl.data.toy import generate
from vssl.evaluate.result import of_run
from vssl.evaluate.stats import Comparison, compare

TOY = Path(__file__).parents[2] / "configs" / "method" / "toy"
WORLD_SEED, NETWORK_SEED = 1, 0


class Score(NamedTuple):
    trained: float
    random: list[float]
    baselines: dict[str, float]
    against_random: Comparison


def scores(run: Path, label: str) -> Score:
    found = [r for r in of_run(run) if r.label == label]
    by_kind = lambda kind: [r for r in found if r.kind == kind]
    (trained,), random = by_kind("trained"), by_kind("random")
    assert len(random) == 3
    assert trained.num_scored == trained.num_listed == 384
    values = lambda results: [[r.scores()] for r in results]
    top1 = lambda r: r.metrics["top1"]
    baselines = {r.name: top1(r) for r in by_kind("baseline")}
    return Score(top1(trained), [top1(r) for r in random], baselines, compare([trained.scores()], values(random)))


def pretrained(folder: Path, name: str, nuisance: str, labels: str, *extra: str, clips: int = 10) -> Path:
    """A world, a run on it, its scores; what the two last lines print is what a user sees."""
    manifest = generate(folder / nuisance, 960, WORLD_SEED, nuisance, 1)
    run = folder / f"{name}-{nuisance}"
    argv = ["-c", TOY / f"{name}.yaml", f"--data.manifest={manifest}", f"--seed_everything={NETWORK_SEED}"]
    vssl("fit", *argv, "--data.num_workers=1", f"--run_dir={run}", *extra)
    print(
        vssl(
            "evaluate", run, f"--data.manifest={manifest}", f"--label={labels}", f"--clips={clips}", "--workers=1"
        ).stdout
    )
    return run
