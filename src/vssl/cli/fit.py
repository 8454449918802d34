"""`vssl fit`: configuration layers to a trained method, through LightningCLI."""

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

_HELP = """\
usage: vssl fit -c FILE [-c FILE ...] [--KEY VALUE ...]

Pretrain a method. Later layers and flags win; interpolation is OmegaConf's (${oc.env:VSSL_DATA,data}).

  -c, --config FILE        a configuration layer; repeat it
  --data.manifest FILE     manifest made by `vssl data index` or `vssl data toy`
  --run_dir DIR            folder of this run (default: runs/METHOD-TIME)
  --ckpt_path FILE         continue from a checkpoint, in its run's folder
  --seed_everything N      the one seed of the run (default: 0)
  --trainer.max_epochs N   any Trainer argument goes like this
  --print_config           print the complete configuration and stop
  --model.help CLASS       list the settings of a method (`vssl methods` prints the classes)
  --help-all               list every option (takes some seconds)

example: vssl fit -c configs/method/toy/vito.yaml --data.manifest toy/manifest.csv
"""


def main(argv: list[str]) -> int:
    """Parse, build, train."""
    if not argv or argv[0] in ("-h", "--help"):
        print(_HELP, end="")  # noqa: T201  # the command line's output
        return 0
    argv = ["--help" if word == "--help-all" else word for word in argv]
    run(argv)
    return 0


def run(argv: list[str]) -> Any:
    """Train as the command line says; returns the LightningCLI with trainer, model and datamodule."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # tensorboard probes for tensorflow and it is chatty
    logging.basicConfig(level=logging.INFO, format="vssl: %(message)s", stream=sys.stderr)
    for name in ("lightning", "lightning.pytorch", "fsspec", "matplotlib"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")  # Lightning 2.6 with new torch
    from vssl.cli.lightning_cli import FitCLI  # noqa: PLC0415  # heavy

    cli = FitCLI(argv)
    cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=cli.config.get("ckpt_path"), weights_only=True)
    if cli.trainer.is_global_zero:
        print(f"run: {Path(cli.run)}")  # noqa: T201  # the command line's output
    return cli
