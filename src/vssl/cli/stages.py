"""`vssl fit` with a layer that lists `stages`: methods in order as one run, each from an earlier one's encoder.

A stage is an ordinary `vssl fit` in RUN/NAME whose command line is made here. What is finished is read off the disk, so
the same command begins a run, continues it between and inside stages, and does nothing once all are finished.
"""

import gc
import logging
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from vssl import staged
from vssl.errors import UserError

logger = logging.getLogger(__name__)

_EXAMPLE = "Write stages: [{name: a, config: a.yaml}, {name: b, config: b.yaml, init_from: a}]."
_PAIR = re.compile(r"(--config|--run_dir|--ckpt_path|--init_from|--stages\.[^=]*)=(.*)", re.DOTALL)


class Stage(NamedTuple):
    """One stage of a plan."""

    name: str
    argv: list[str]
    """Its layers and flags, without its folder and what it starts from."""
    init_from: str | None
    """An earlier stage."""

    def line(self, run: Path) -> list[str]:
        """Its words after `vssl fit`, in a run's folder; flags of its own come last and win."""
        where = ["--run_dir", str(run / self.name)]
        start = ["--init_from", str(run / self.init_from / "checkpoints" / "last.ckpt")] if self.init_from else []
        return [*where, *start, *self.argv]


class Plan(NamedTuple):
    """What a command line with a list of stages asks for."""

    file: Path
    stages: list[Stage]
    run_dir: str | None
    print_config: bool


def read(argv: list[str]) -> Plan | None:
    """The stages that a command line asks for; None where no layer of it lists any.

    Raises:
        UserError: The list is not one, or a flag does not go with it.
    """
    words = _words(argv)
    layers = [i + 1 for i, word in enumerate(words[:-1]) if word in ("-c", "--config")]
    lists = [(i, entries) for i in layers if (entries := _entries(Path(words[i]))) is not None]
    if not lists:
        return None
    (place, entries), *more = lists
    if more:
        raise UserError(words[more[0][0]], "a run has one list of stages", "Leave one of the two layers out.")
    file = Path(words[place])
    shared, own, run_dir = _flags(words, place, [entry["name"] for entry in entries])
    stages = []
    for entry in entries:
        name, layer = entry["name"], str(file.parent / entry["config"])
        line = [layer if word is None else word for word in shared]
        stages.append(Stage(name, [*line, *own[name]], entry.get("init_from")))
    return Plan(file, stages, run_dir, any(word.startswith("--print_config") for word in words))


def _words(argv: list[str]) -> list[str]:
    """The flags that are looked at here, apart from their values."""
    words: list[str] = []
    for word in argv:
        pair = _PAIR.fullmatch(word)
        words += pair.groups() if pair else (word,)
    return words


def _flags(words: list[str], place: int, names: list[str]) -> tuple[list[str | None], dict[str, list[str]], str | None]:
    """What is for all stages (None: the layer at `place`, each stage's own), for each of them, and the run's folder."""
    shared: list[str | None] = []
    own: dict[str, list[str]] = {name: [] for name in names}
    run_dir, i = None, 0
    while i < len(words):
        word, value = words[i], [v for v in words[i + 1 : i + 2] if not v.startswith("--")]
        if word in ("--ckpt_path", "--init_from"):
            raise UserError(word, "is not for all stages", "The same command and --run_dir continue a run.")
        if word == "--run_dir" and value:
            run_dir = value[0]
        elif word.startswith("--stages."):
            name, flag = _own_flag(word, names)
            own[name] += [flag, *value]
        else:
            shared.append(None if i == place else word)
            value = []
        i += 1 + len(value)
    return shared, own, run_dir


def _own_flag(word: str, names: list[str]) -> tuple[str, str]:
    _, name, key = [*word.split(".", 2), "", ""][:3]
    if name not in names or not key:
        raise UserError(word, f"there are the stages {', '.join(names)}", "Write --stages.NAME.KEY VALUE.")
    if key in ("run_dir", "ckpt_path"):
        raise UserError(word, "stages lie in RUN/NAME and continue by themselves", "Give --run_dir RUN.")
    return name, f"--{key}"


def _entries(file: Path) -> list[dict[str, Any]] | None:
    """The list of a layer, checked; None where it has none (what is no YAML is for the parser to tell)."""
    try:
        content = yaml.safe_load(file.read_bytes()) if file.is_file() else None
    except yaml.YAMLError:
        return None
    if not isinstance(content, dict) or "stages" not in content:
        return None
    if others := sorted(set(content) - {"stages"}):
        raise UserError(f"{file}: {others[0]}", "a list of stages stands alone", "Put the rest into a layer: -c FILE.")
    entries = content["stages"]
    if not isinstance(entries, list) or not entries:
        raise UserError(file, "stages is not a list", _EXAMPLE)
    earlier: list[str] = []
    for entry in entries:
        _check(file, entry, earlier)
        earlier.append(entry["name"])
    return entries


def _check(file: Path, entry: object, earlier: list[str]) -> None:
    if not isinstance(entry, dict) or not {"name", "config"} <= entry.keys() <= {"name", "config", "init_from"}:
        raise UserError(file, f"a stage has a name, a config and maybe init_from, not {entry}", _EXAMPLE)
    name, start = entry["name"], entry.get("init_from")
    if not re.fullmatch(r"[\w-]+", str(name), re.ASCII) or name in earlier:
        raise UserError(f"{file}: {name}", "names of stages are words and differ", _EXAMPLE)
    if start is not None and start not in earlier:
        raise UserError(f"{file}: init_from: {start}", "no earlier stage is called so", _EXAMPLE)
    if not (file.parent / str(entry["config"])).is_file():
        raise UserError(file.parent / str(entry["config"]), f"no such file, but stage {name} of {file} names it", "")


def run(plan: Plan) -> None:
    """Train what is not finished; or print every stage's configuration.

    Raises:
        UserError: A stage is refused, before the first one trains; or one ended before its last step.
    """
    from vssl.cli.run import run_directory

    if plan.print_config:
        _print_configs(plan)
        return
    root = run_directory(plan.run_dir, plan.file.stem, None)
    names = [stage.name for stage in plan.stages]
    if staged.names(root) not in ([], names):
        held = ", ".join(staged.names(root))
        raise UserError(root, f"holds a run of the stages {held}", "Choose another --run_dir.")
    _check_all([stage for stage in plan.stages if not staged.is_finished(root / stage.name)], root)
    staged.write(root / staged.RECORD, {"file": plan.file.name, "stages": names})
    for number, stage in enumerate(plan.stages, start=1):
        title = f"stage {number}/{len(names)} {stage.name}"
        if staged.is_finished(root / stage.name):
            logger.info("%s: finished", title)
        else:
            logger.info("%s", title)
            _train(stage, root, title)
    print(f"run: {root}")


def _train(stage: Stage, root: Path, title: str) -> None:
    from lightning.pytorch.utilities import rank_zero_only

    from vssl.cli import fit

    folder, argv = root / stage.name, stage.line(root)
    if (last := folder / "checkpoints" / "last.ckpt").is_file():
        argv += ["--ckpt_path", str(last)]
    else:
        rank_zero_only(_set_aside)(folder)
    cli = fit.run(argv, title)
    step, total = cli.trainer.global_step, cli.model.total_steps
    if step < total:
        raise UserError(title, f"ended at step {step} of {total}", "The same command continues it.")
    rank_zero_only(staged.write)(folder / staged.DONE, {"step": step})
    del cli
    gc.collect()  # the next stage needs the memory


def _set_aside(folder: Path) -> None:
    """Move what a stage wrote that was killed before its first checkpoint."""
    if (folder / "config.yaml").exists():
        number = 1 + len(list(folder.parent.glob(f"{folder.name}.killed*")))
        folder.rename(folder.with_name(f"{folder.name}.killed{number}"))


def _check_all(stages: list[Stage], root: Path) -> None:
    """Build every method and its data once: what a later stage gets wrong is told before the first one trains."""
    from vssl.cli.lightning_cli import CheckCLI
    from vssl.initialise import difference

    specs: dict[str, Mapping[str, Any]] = {}
    for stage in stages:
        spec = specs[stage.name] = CheckCLI(stage.line(root)).model.backbone.spec()
        if stage.init_from in specs and (different := difference(specs[stage.init_from], spec)):
            rule = f"the encoder of stage {stage.init_from} is another one: {different}"
            raise UserError(f"stage {stage.name}", rule, "Give both stages one backbone.")


def _print_configs(plan: Plan) -> None:
    from vssl.cli import fit

    for number, stage in enumerate(plan.stages, start=1):
        print(f"{'---' * (number > 1)}\n# stage {number}/{len(plan.stages)} {stage.name}".lstrip(), flush=True)
        try:
            fit.run(stage.line(Path(plan.run_dir or "RUN")))
        except SystemExit as stop:  # the parser's way to end after printing
            if stop.code:
                sys.exit(stop.code)
