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
  --init_from RUN          start from the backbone of another run or checkpoint, with new heads
  --seed_everything N      the one seed of the run (default: 0)
  --trainer.max_epochs N   any Trainer argument goes like this
  --print_config           print the complete configuration and stop
  --stages.NAME.KEY VALUE  where a layer lists stages: for one of them; other flags and layers are for all
  --model.help CLASS       list the settings of a method (`vssl methods` prints the classes)
  --help-all               list every option (takes some seconds)

A run in stages continues with the same command and --run_dir. docs/stages.md says more.

example: vssl fit -c configs/method/toy/vito.yaml --data.manifest toy/manifest.csv
"""


def main(argv: list[str]) -> int:
    """Parse, build, train."""
    if not argv or argv[0] in ("-h", "--help"):
        print(_HELP, end="")
        return 0
    argv = ["--help" if word == "--help-all" else word for word in argv]
    from vssl.cli import stages

    plan = stages.read(argv)
    if plan is not None:
        _say_what_matters()
        stages.run(plan)
    else:
        run(argv)
    return 0


def run(argv: list[str], stage: str = "") -> Any:
    """Train as the command line says; returns the LightningCLI with trainer, model and datamodule."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # tensorboard probes for tensorflow and it is chatty
    from vssl.cli.lightning_cli import FitCLI

    _say_what_matters()
    cli = FitCLI(argv, stage)
    cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=cli.config.get("ckpt_path"), weights_only=True)
    if cli.trainer.is_global_zero:
        print(f"run: {Path(cli.run)}")
    return cli


def _say_what_matters() -> None:
    """Our lines and everybody's warnings to standard error, each once."""
    ours = logging.getLogger("vssl")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("vssl: %(message)s"))
    ours.handlers = [handler]
    ours.setLevel(logging.INFO)
    ours.propagate = False
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # 0 is a choice
        ".*isinstance\\(treespec, LeafSpec\\).*",  # Lightning 2.6 with a newer torch
        ".*is smaller than the logging interval.*",  # a short run
        ".*exists and is not empty.*",  # the run directory holds our record; metrics.csv was moved aside
        ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run
        ".*your dataloader is not resumable.*",  # ours is: the sampler goes on where the checkpoint was taken
    ):
        warnings.filterwarnings("ignore", message=message)
