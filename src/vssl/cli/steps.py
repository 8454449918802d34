"""The work behind `vssl compare -c`: fit what is missing, score what is missing, each as a process of its own.

What is finished is read off the disk, so the same command continues after a kill. One process per step: Lightning
starts the other processes of a multi-GPU step from its command line, and a crash takes one step with it.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from vssl import staged
from vssl.cli import process
from vssl.cli.plan import Comparison, Member, content_hash, members
from vssl.errors import UserError
from vssl.evaluate.result import FOLDER, TRAINED, Result, absent, read

_MARK = "compare.json"
_LEAK = re.compile(r"split (\d+): (pretraining saw .*? of this split)")


class Outcome(NamedTuple):
    """What a comparison is made of."""

    scores: list[tuple[Path, Result]]
    """Run directory (or the folder of a checkpoint's results) and score."""
    lost: list[str]
    """One line per step that failed and per split that was refused."""


class _Step(NamedTuple):
    title: str
    member: Member
    dataset: str | None
    """None: fit."""


def run(plan: Comparison, say: Callable[[str], None]) -> Outcome:
    """Do what is missing, and collect every score that was asked for.

    Raises:
        UserError: another command works on the same folder.
    """
    out = Path(plan.out)
    every = list(members(plan))
    steps = [step for member in every for step in _steps(member)]
    lost: dict[str, str] = {}
    failed: set[Path] = set()
    with process.alone(out) as lock:
        worker = _Worker(plan, out, lock)
        for number, step in enumerate(steps, start=1):
            where = f"{number}/{len(steps)} {step.title}"
            if step.member.run in failed:
                say(f"{where}: left out, its fit failed")
                continue
            try:
                done = worker.fit(step.member) if step.dataset is None else worker.score(step.member, step.dataset)
                for doing in done:
                    say(f"{where}{doing}")
            except UserError as error:
                lost[step.title] = f"{step.title}: {error}"
                say(f"{where}: FAILED: {error}")
                if step.dataset is None:
                    failed.add(step.member.run)
        scores = [score for member in every if member.run not in failed for score in worker.scores(member)]
    return Outcome(scores, [*worker.refused, *lost.values()])


def _steps(member: Member) -> Iterator[_Step]:
    if member.fit is not None:
        yield _Step(f"{member.title}: fit", member, None)
    for name in member.splits:
        yield _Step(f"{member.title}: evaluate on {name}", member, name)


class _Worker:
    """Runs steps in an output folder; each yields what to add to its line of progress."""

    def __init__(self, plan: Comparison, out: Path, lock: int) -> None:
        self.plan, self.out, self._lock = plan, out, lock
        self.refused: list[str] = []

    def fit(self, member: Member) -> Iterator[str]:
        """Begin or continue a run.

        Raises:
            UserError: it failed, or the folder holds a run with other settings, or one that no `run` names.
        """
        assert member.fit is not None
        folder, mark = member.run, member.run / _MARK
        known = json.loads(mark.read_text(encoding="utf-8")) if mark.is_file() else None
        # a kill may come before the mark is whole: then there is nothing but a hidden draft of it
        if known is None and folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
            if self.plan.methods[member.method].run is None:  # nobody says that it is what the file asks for
                remedy = "Move it away, or name it as the method's run to take it as it is"
                raise UserError(folder, f"was not fitted by this command: it has no {_MARK}", remedy)
            yield " (there, made elsewhere)"
            return
        if known and known["settings"] != member.settings:
            raise UserError(folder, "was fitted with other settings", "Choose another run or out, or move it away")
        if known and known["finished"] and _checkpoint(folder).is_file():
            yield " (there)"
            return
        words, last = ["fit", *member.fit, "--run_dir", str(folder)], folder / "checkpoints" / "last.ckpt"
        yield ", continued" if last.is_file() or staged.names(folder) else ""
        if last.is_file():
            words += ["--ckpt_path", str(last)]
        elif (folder / "config.yaml").exists():  # killed before its first checkpoint
            folder.rename(folder.with_name(f"{folder.name}.killed{1 + len(list(folder.parent.glob(_killed(folder))))}"))
        staged.write(mark, {"settings": member.settings, "finished": False})
        self._vssl(words, f"{_name(member)}-fit")
        staged.write(mark, {"settings": member.settings, "finished": True})

    def score(self, member: Member, dataset: str) -> Iterator[str]:
        """Score a run on a data set; splits that it saw in pretraining are refused and the others scored.

        Raises:
            UserError: it failed.
        """
        request = self._request(member, dataset)
        known = self._known(member, dataset)
        if known and known["request"] == request and _whole([Path(file) for file in known["files"]]):
            yield " (there)"
            self._refuse(member, dataset, known["refused"])
            return
        yield ""
        splits, refused = list(member.splits[dataset]), {}
        while splits:
            try:
                self._vssl(self._words(member, dataset, splits), f"{_name(member)}-{dataset}")
                break
            except UserError as error:
                if not (leak := _LEAK.search(str(error))):
                    raise
                refused[leak[1]] = leak[2]
                splits.remove(int(leak[1]))
                yield f": split {leak[1]} refused: {leak[2]}"
        files = [str(file) for file in self._found(member, dataset, splits)]
        staged.write(self._mark(member, dataset), {"request": request, "refused": refused, "files": files})
        self._refuse(member, dataset, refused)

    def scores(self, member: Member) -> Iterator[tuple[Path, Result]]:
        """The scores of a member that exist, of those asked for."""
        for dataset, splits in member.splits.items():
            known = self._known(member, dataset) if _checkpoint(member.run).is_file() else None
            # what a failed step left is shown too
            current = known and known["request"] == self._request(member, dataset)
            files = [Path(f) for f in known["files"]] if known and current else self._found(member, dataset, splits)
            for file in files:
                if file.is_file():
                    yield file.parent.parent, read(file)

    def _refuse(self, member: Member, dataset: str, refused: dict[str, str]) -> None:
        self.refused += [f"{member.title}: {dataset} split {s} refused: {reason}" for s, reason in refused.items()]

    def _request(self, member: Member, dataset: str) -> dict[str, Any]:
        """What decides the scores of a step; equal requests need no second run."""
        file, data = _checkpoint(member.run), self.plan.datasets[dataset]
        if not file.is_file():
            raise UserError(file, "no such checkpoint", "Fit the run, or name another")
        state = file.stat()
        asked = {"protocols": self.plan.protocols, "splits": member.splits[dataset], "labels": data.labels}
        asked["config"] = [Path(file).read_text(encoding="utf-8") for file in self.plan.evaluate.config]
        return asked | {"manifest": content_hash(data.manifest), "checkpoint": [state.st_size, state.st_mtime_ns]}

    def _words(self, member: Member, dataset: str, splits: list[int]) -> list[str]:
        data, given = self.plan.datasets[dataset], self.plan.evaluate
        words = ["evaluate", str(member.run), "--protocol", ",".join(self.plan.protocols)]
        words += ["--splits", ",".join(map(str, splits)), "--label", ",".join(data.labels)]
        words += ["--data.manifest", data.manifest, *(["--data.root", data.root] if data.root else [])]
        words += [word for file in given.config for word in ("-c", file)]
        words += ["--device", given.device, "--cache", str(self.out / "features")]
        words += [] if given.workers is None else ["--workers", str(given.workers)]
        words += [] if given.batch_size is None else ["--batch-size", str(given.batch_size)]
        return words if member.run.is_dir() else [*words, "--out", str(self._home(member))]

    def _home(self, member: Member) -> Path:
        return staged.last_stage(member.run) if member.run.is_dir() else self.out / "imported" / member.method

    def _mark(self, member: Member, dataset: str) -> Path:
        return self.out / "scored" / f"{_name(member)}-{dataset}.json"

    def _known(self, member: Member, dataset: str) -> dict[str, Any] | None:
        mark = self._mark(member, dataset)
        return json.loads(mark.read_text(encoding="utf-8")) if mark.is_file() else None

    def _found(self, member: Member, dataset: str, splits: list[int]) -> list[Path]:
        """Files of the scores asked for: a run may hold others, of other protocols, data or checkpoints."""
        file, data = _checkpoint(member.run), self.plan.datasets[dataset]
        if not file.is_file():
            return []
        sha, manifest, found = hashlib.sha256(file.read_bytes()).hexdigest(), content_hash(data.manifest), []
        for path in sorted((self._home(member) / FOLDER).glob("*.json")):
            result = read(path)
            name = result.protocol["name"].partition(" (")[0]  # a stamp may follow
            asked = (result.manifest, name in self.plan.protocols, result.label in data.labels)
            own = result.kind != TRAINED or result.checkpoint["sha"] == sha
            if asked == (manifest, True, True) and result.split in splits and own:
                found.append(path)
        return found

    def _vssl(self, words: list[str], name: str) -> None:
        process.vssl(words, self.out / "logs" / f"{name}.log", self._lock)


def _checkpoint(run: Path) -> Path:
    if not run.is_dir():
        return run
    try:
        return staged.last_stage(run) / "checkpoints" / "last.ckpt"
    except UserError:  # no stage is finished yet
        return run / "checkpoints" / "last.ckpt"


def _whole(files: list[Path]) -> bool:
    """Whether scores are all there, a control included whose weights file may be back by now."""
    return all(file.is_file() for file in files) and not absent(map(read, files))


def _name(member: Member) -> str:
    return re.sub(r"\W+", "-", member.title)


def _killed(folder: Path) -> str:
    return f"{folder.name}.killed*"
