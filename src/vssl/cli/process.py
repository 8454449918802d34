"""Steps as processes: one at a time in a folder, ended with the command that began them."""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from vssl.errors import UserError

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def vssl(words: list[str], log: Path, lock: int) -> None:
    """Run one command, its output at the end of a log; it holds the folder's lock too.

    Raises:
        UserError: it failed; with its own words.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        start = file.tell()
        done = subprocess.run(
            [sys.executable, "-m", "vssl", *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            pass_fds=(lock,),
            preexec_fn=partial(_end_with_parent, os.getpid()),
            check=False,
        )
    if done.returncode:
        lines = log.read_bytes()[start:].decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
        told = [line.partition("vssl: error: ")[2] for line in lines if "vssl: error: " in line]
        raise UserError(f"exit code {done.returncode}", (told or lines)[-1], f"Log: {log}")


@contextmanager
def alone(out: Path) -> Iterator[int]:
    """The folder's lock, held by this process and its children.

    Raises:
        UserError: another process holds it.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(out, "another vssl compare is at work here", "Wait for it, or choose another out") from None
        yield file.fileno()


def _end_with_parent(parent: int) -> None:
    """A step must not go on alone after a kill: the command that continues would meet it in the same folder."""
    if _LIBC is not None:
        _LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG; elsewhere the lock makes the next command wait
        if os.getppid() != parent:  # it was killed before that
            os.kill(os.getpid(), signal.SIGKILL)
