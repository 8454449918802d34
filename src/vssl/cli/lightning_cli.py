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

from vssl import checkpoint, plugins
from vssl.backbones.base import Backbone
from vssl.cli.messages import one_line, settings, user_error
from vssl.cli.run import RunRecord, keep_metrics, run_directory
from vssl.data.module import VideoDataModule
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
        print(f"vssl: error: {text}", file=sys.stderr)  # noqa: T201  # the command line's output
        raise SystemExit(2)


def _subclasses(cls: type) -> Iterator[type]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _subclasses(sub)


class _ProgressBar(RichProgressBar):
    """Without the logger's version, which says nothing here."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        return {name.removeprefix("train/"): value for name, value in metrics.items() if name != "v_num"}


class FitCLI(LightningCLI):
    """Parses `vssl fit`'s arguments and builds method, datamodule and trainer.

    Args:
        argv: Words after `vssl fit`.
    """

    def __init__(self, argv: list[str]) -> None:
        self.argv = argv
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
            parser_kwargs={"parser_mode": "omegaconf+", "prog": "vssl fit"},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # it would put hyper-parameters into checkpoints
            run=False,
            args=argv,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The method hands the datamodule its recipe; the run has one seed."""
        parser.add_argument("--run_dir", type=str | None, default=None, help="folder of this run")
        parser.add_argument("--ckpt_path", type=str | None, default=None, help="checkpoint to continue from")
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
            checkpoint.read(self.config["ckpt_path"])  # refuses what is missing, truncated or unsafe in one line
        try:
            super().instantiate_classes()
        except ValueError as error:
            ours = user_error(error)
            if ours is None:
                raise
            raise ours from None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Trainer with vssl's loggers and callbacks, unless the configuration names its own loggers."""
        given = dict(self._get(self.config_init, "trainer", default={}))
        method = type(self.model).__name__.lower()
        self.run = run_directory(self.config.get("run_dir"), method, self.config.get("ckpt_path"))
        logger.info("run: %s", self.run)
        logger.info("data: %s", self.datamodule.summary())
        if given.get("logger") in (None, True):
            if self.config.get("ckpt_path"):
                rank_zero_only(keep_metrics)(self.run)
            kwargs["logger"] = [
                TensorBoardLogger(self.run, name="", version="tensorboard"),
                CSVLogger(self.run, name="", version="", flush_logs_every_n_steps=50),
            ]
        kwargs["default_root_dir"] = str(self.run)
        return super().instantiate_trainer(**kwargs)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        # a saved configuration reruns elsewhere: where this run lies and what it continued is not part of it
        text = self.parser.dump(self.config.clone(with_meta=False), skip_none=False)
        text = re.sub(r"(?m)^(run_dir|ckpt_path):.*$", r"\1: null", text)
        return super()._instantiate_trainer(config, [*callbacks, *self._callbacks(config, text)])

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
            chosen.append(_ProgressBar())
        return chosen
