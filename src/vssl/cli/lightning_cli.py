"""LightningCLI with vssl's defaults: one-line errors, linked recipe, run directory, loggers and checkpoints."""

import logging
import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import jsonargparse
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from vssl import checkpoint, plugins
from vssl.backbones.base import Backbone
from vssl.cli.messages import one_line, settings
from vssl.cli.run import RunRecord, keep_metrics, run_directory
from vssl.data.module import VideoDataModule
from vssl.errors import UserError
from vssl.initialise import init_from
from vssl.methods.base import Method
from vssl.pictures import Pictures
from vssl.probe import OnlineKnn

logger = logging.getLogger(__name__)


class FitParser(LightningArgumentParser):
    """Says what is wrong in one line, without the usage block."""

    argv: tuple[str, ...] = ()

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print `vssl: error: VALUE: RULE. REMEDY` and exit with code 2."""
        options = {word.rpartition(".")[2].lstrip("-") for word in self._option_string_actions}
        classes = [*_subclasses(Method), *_subclasses(Backbone)]
        text = one_line(message, ex, argv=list(self.argv), known=options | settings(classes), classes=classes)
        print(f"vssl: error: {text}", file=sys.stderr)
        raise SystemExit(2)


def _subclasses(cls: type) -> Iterator[type]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _subclasses(sub)


class _ProgressBar(RichProgressBar):
    """Says how far the whole run is, and not the logger's version."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self._stage = f"{stage}, " if stage else ""

    def _get_train_description(self, current_epoch: int) -> str:
        epochs, steps = self.trainer.max_epochs, self.trainer.max_steps
        text = f"{self._stage}epoch {current_epoch + 1}" + (f"/{epochs}" if epochs and epochs > 0 else "")
        return text + (f", step {self.trainer.global_step}/{steps}" if steps > 0 else "")

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        return {name.removeprefix("train/"): value for name, value in metrics.items() if name != "v_num"}


class FitCLI(LightningCLI):
    """Parses `vssl fit`'s arguments and builds method, datamodule and trainer.

    Args:
        argv: Words after `vssl fit`.
        stage: What the progress bar says in front.
    """

    def __init__(self, argv: list[str], stage: str = "") -> None:
        self.argv, self.stage = argv, stage
        jsonargparse.set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
        plugins.load(plugins.BACKBONES)
        plugins.load(plugins.METHODS)
        super().__init__(
            model_class=Method,
            datamodule_class=VideoDataModule,
            subclass_mode_model=True,
            save_config_callback=None,
            seed_everything_default=0,
            parser_class=FitParser,
            # a misspelt option is a mistake, not an abbreviation
            parser_kwargs={"parser_mode": "omegaconf+", "prog": "vssl fit", "allow_abbrev": False},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # it would put hyper-parameters into checkpoints
            run=False,
            args=argv,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The method hands the datamodule its recipe; the run has one seed."""
        parser.add_argument("--run_dir", type=str | None, default=None, help="folder of this run")
        parser.add_argument("--ckpt_path", type=str | None, default=None, help="checkpoint to continue from")
        parser.add_argument("--init_from", type=str | None, default=None, help="run to take the backbone from")
        parser.link_arguments("model", "data.recipe", compute_fn=lambda m: m.recipe, apply_on="instantiate")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """As LightningCLI, without its warning about a second command line."""
        assert isinstance(args, list)
        assert isinstance(parser, FitParser)
        parser.argv = tuple(args)
        self.config = parser.parse_args(args)

    def instantiate_classes(self) -> None:
        """Build; a mistake found by a constructor is the user's, not a traceback."""
        if self.config.get("ckpt_path"):
            self._check_checkpoint()
        super().instantiate_classes()

    def _check_checkpoint(self) -> None:
        """Refuse in one line what is missing, truncated, unsafe or of another method; a run means its last one."""
        found = checkpoint.read(self.config["ckpt_path"])
        wanted = self.config["model"]["class_path"]
        if found.method != wanted:
            raise UserError(
                found.path, f"a checkpoint of {found.method}, not of {wanted}", "Give that run's --ckpt_path."
            )
        self.config["ckpt_path"] = str(found.path)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Trainer with vssl's loggers and callbacks, unless the configuration names its own loggers."""
        given = dict(self._get(self.config_init, "trainer", default={}))
        if given.get("max_steps", -1) == -1 and given.get("max_epochs") in (None, -1):
            raise UserError("trainer", "schedules need the length of the run", "Set trainer.max_epochs or max_steps.")
        if given.get("overfit_batches"):
            value = f"trainer.overfit_batches={given['overfit_batches']}"
            raise UserError(value, "it would replace the sampler", "Use trainer.limit_train_batches.")
        method = type(self.model).__name__.lower()
        self.run = run_directory(self.config.get("run_dir"), method, self.config.get("ckpt_path"))
        if self.config.get("init_from") and not self.config.get("ckpt_path"):
            inventory = init_from(self.model, self.config["init_from"])
            logger.info("backbone from %s", self.config["init_from"])
            rank_zero_only(Console(stderr=True).print)(inventory.table())
        if given.get("logger") in (None, True):
            if self.config.get("ckpt_path"):
                rank_zero_only(keep_metrics)(self.run)
            kwargs["logger"] = [
                TensorBoardLogger(self.run, name="", version="tensorboard"),
                CSVLogger(self.run, name="", version="", flush_logs_every_n_steps=50),
            ]
        kwargs["default_root_dir"] = str(self.run)
        trainer = super().instantiate_trainer(**kwargs)
        logger.info("run: %s", self.run)
        logger.info("data: %s", self.datamodule.summary())
        return trainer

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        # a saved configuration reruns elsewhere: where this run lies and what it continued is not part of it
        text = self.parser.dump(self.config.clone(with_meta=False), skip_unset=False)
        text = re.sub(r"(?m)^(run_dir|ckpt_path):.*$", r"\1: null", text)
        try:
            return super()._instantiate_trainer(config, [*callbacks, *self._callbacks(config, text)])
        except ValueError as error:  # Lightning's word on an accelerator or precision that does not exist
            raise UserError("trainer", " ".join(str(error).split()), "") from error

    def _callbacks(self, config: dict[str, Any], text: str) -> list[Callback]:
        chosen: list[Callback] = [RunRecord(self.run, text, self.argv), OnlineKnn(), Pictures()]
        if config.get("enable_checkpointing") is not False:
            folder = Path(self.run) / "checkpoints"
            shared: dict[str, Any] = {"dirpath": folder, "save_last": True, "enable_version_counter": False}
            chosen += [
                ModelCheckpoint(**shared, filename="epoch{epoch:04d}", auto_insert_metric_name=False),
                ModelCheckpoint(**shared, filename="timed", train_time_interval=timedelta(minutes=30)),
            ]
        if config.get("enable_progress_bar") is not False:
            chosen.append(_ProgressBar(self.stage))
        return chosen


class CheckCLI(FitCLI):
    """Parses and builds method and data, and stops there: nothing is written."""

    def instantiate_classes(self) -> None:
        """As FitCLI, without a trainer."""
        self.model = self.parser.instantiate_classes(self.config)["model"]
