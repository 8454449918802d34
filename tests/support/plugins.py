"""Third-party packages, installed as a user would install them, without a download."""

import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "plugins"


def installed(target, *names):
    """Install packages of tests/plugins into a folder; put it on the import path."""
    for name in names:
        source = target.parent / f"source-{name}"
        shutil.copytree(SOURCES / name, source)  # building writes beside the source
        options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
        subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True, capture_output=True)
    return target
