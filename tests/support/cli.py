"""The command line as a user starts it: a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from vssl.cli import main

SOURCE = Path(__file__).parents[2] / "src"
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160", "PYTHONPATH": str(SOURCE)}


def vssl(*argv, cwd=None, path=(), check=True):
    """Run `vssl ARGV`; `path` goes in front of the import path."""
    env = {**ENV, "PYTHONPATH": os.pathsep.join(map(str, [*path, SOURCE]))}
    command = [sys.executable, "-m", "vssl", *map(str, argv)]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=1500)
    if check:
        assert done.returncode == 0, done.stderr
    return done


def in_process(capfd, *argv):
    """The same without a process of its own, which takes seconds to start."""
    capfd.readouterr()
    try:
        code = main([str(word) for word in argv])
    except SystemExit as stop:
        code = stop.code
    out, err = capfd.readouterr()
    err = "\n".join(line for line in err.splitlines() if "Seed set to" not in line)  # Lightning's, first time only
    return subprocess.CompletedProcess(argv, code, out, err)


def refused(done, *parts):
    """One line on standard error, exit code 2, no traceback, no usage block."""
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("vssl: error: "), lines[0]
    for part in parts:
        assert part in lines[0], lines[0]
