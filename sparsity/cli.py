"""Find, train and understand sparse neural networks."""

import json
import logging
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from inspect import signature
from pathlib import Path
from typing import Any, NoReturn

import pytorch_lightning as pl
import torch
import yaml
from jsonargparse import ArgumentError, get_loader, set_loader
from pytorch_lightning.callbacks import Callback, Checkpoint, LearningRateMonitor, ProgressBar
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from pytorch_lightning.utilities import rank_zero_info, rank_zero_only
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch.optim import lr_scheduler
from typing_extensions import override

# Importing them makes their classes known to YAML and flags by their bare names.
import sparsity.datamodules
import sparsity.networks
from sparsity.callbacks import (
    DensityMonitor,
    KeepMasks,
    MaskFrom,
    PruningCallback,
    QuietProgressBar,
    SparseCheckpoint,
    StopOnDivergence,
)
from sparsity.callbacks.samples import known_shape
from sparsity.checkpoints import newest_checkpoint, read_checkpoint, read_intact_checkpoint, require_fitting
from sparsity.class_paths import require_classes
from sparsity.classifier import SparseClassifier
from sparsity.commands import analyze, convert
from sparsity.errors import NonFiniteError, SparsityError, require_whole_number
from sparsity.files import write_atomically
from sparsity.lean_loop import use_lean_loop
from sparsity.messages import one_sentence
from sparsity.mistakes import blaming, cannot_write, is_of_the_disk, sentence_of, signal_behind
from sparsity.predictions import PredictionWriter
from sparsity.processes import is_first_to_say, lost_another
from sparsity.pruning.ablation import Ablation
from sparsity.report.command import report
from sparsity.resuming import SettingsInCheckpoints, require_same_settings, settings_of
from sparsity.run_folder import CHECKPOINTS, CONFIG, SUMMARY, claim_run_folder, run_folder, runs_folder
from sparsity.study.command import study
from sparsity.summary import one_line, run_summary
from sparsity.yaml_files import require_bounded

_load_unbounded = get_loader("yaml")


def _load_bounded(text: str) -> Any:
    require_bounded(text)
    return _load_unbounded(text)


set_loader("yaml", _load_bounded, (yaml.YAMLError,))

_SUBCOMMANDS = {
    "analyze": "Analyse and compare trained networks, ours and published ones.",
    "convert": "Turn another program's checkpoint into one of ours.",
    "report": "Write one page on studies, runs and published networks.",
    "study": "Run a grid of fits side by side, and write tables of results.",
    "fit": "Prune and train a network.",
    "validate": "Evaluate a trained network on the validation images.",
    "test": "Evaluate a trained network on the test images.",
    "predict": "Compute a trained network's class probabilities for the test images.",
}

_NOT_FOR_OUR_USERS = (
    # Lightning's own use of a deprecated name in torch.
    r".*isinstance\(treespec, LeafSpec\).*",
    # Metrics are logged once per epoch here, whatever the interval of steps is.
    r"The number of training batches .* is smaller than the logging interval",
    # Images are in memory: more workers are slower.
    r"The '\w+_dataloader' does not have many workers",
)


class OneSentenceParser(LightningArgumentParser):
    """A parser whose errors are one sentence, without pages of usage before it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"prog": "sparsity", **kwargs})

    @override
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # a parser within a parser, whose caller adds where it happened
            super().error(message, ex)
        own = [action.dest for action in self._actions]
        options = _options() if "trainer.max_epochs" in own or self._subcommands_action is not None else own
        print(f"error: {_one_sentence(message, options)}", file=sys.stderr)
        sys.exit(2)


class SaveConfig(SaveConfigCallback):
    """Saves the complete config of a fit in its own folder."""

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        run_folder(trainer)  # asks all processes, and only one saves
        super().setup(trainer, pl_module, stage)

    @override
    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if (folder := run_folder(trainer)) is not None:
            self.parser.save(self.config, str(folder / CONFIG), skip_none=False, multifile=False)


class SparsityCLI(LightningCLI):
    """Trains, prunes and tests a `SparseClassifier` from YAML files and flags.

    Args:
        args: Arguments instead of those of the process.
    """

    def __init__(self, args: Sequence[str] | None = None) -> None:
        super().__init__(
            SparseClassifier,
            pl.LightningDataModule,
            subclass_mode_data=True,
            parser_class=OneSentenceParser,
            save_config_callback=SaveConfig,
            save_config_kwargs={"save_to_log_dir": False},
            auto_configure_optimizers=False,
            seed_everything_default=42,
            # The table of densities says more about a sparse network than Lightning's summary.
            trainer_defaults={"enable_model_summary": False},
            parser_kwargs={"description": __doc__.splitlines()[0], "version": sparsity.__version__},
            args=None if args is None else list(args),
        )

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_subclass_arguments(
            PruningCallback,
            "pruner",
            required=False,
            help="How the network is pruned, for example SynFlow; without it, it stays dense.",
        )
        parser.add_argument(
            "--ablation",
            type=Ablation,
            help="Break the mask that the pruner found before its weights train, as a control.",
        )
        parser.add_argument(
            "--test_after_fit",
            type=bool,
            default=False,
            help="After a fit, test the best and the last checkpoint and print one line of results.",
        )

    @override
    def setup_parser(self, *args: Any, **kwargs: Any) -> None:
        super().setup_parser(*args, **kwargs)
        subcommands = self.parser._subcommands_action
        assert subcommands is not None
        for name in _COMMANDS:  # listed here; `main` runs them without a Trainer
            subcommands.add_subcommand(name, _command_parser(name))
        self._subcommand_parsers["predict"].add_argument(
            "--output",
            type=str,
            default="predictions",
            help="A new folder for the predictions; if there is one, a number is added to its name.",
        )
        for choice in subcommands._choices_actions:
            choice.help = _SUBCOMMANDS[choice.dest]
        for name, parser in self._subcommand_parsers.items():
            parser.description = f"{_SUBCOMMANDS[name]} Any YAML given by --config can be overridden by flags."
            parser.groups["data"].title = "The images, and how they are split, batched and augmented"  # type: ignore[index]
            for action in parser._actions:
                if action.dest == "ckpt_path":
                    action.help = "A checkpoint's path, or `last` or `best` for the newest run's."

    @override
    def _parse_ckpt_path(self) -> None:
        """Unlike Lightning's, never let a checkpoint's settings override the user's."""
        config = self.config[self.config.subcommand]
        if not config.get("ckpt_path") and self.config.subcommand != "fit":
            raise SparsityError(
                f"{self.config.subcommand} needs a trained network: give --ckpt_path FILE, or best or last"
            )

    @override
    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        with blaming("the arguments or a config"):
            super().parse_arguments(parser, args)

    @override
    def _set_seed(self) -> None:
        with blaming("seed_everything"):
            super()._set_seed()

    @override
    def instantiate_classes(self) -> None:
        with blaming(f"the configuration of {self.subcommand}"):
            config = self.config[self.config.subcommand]
            require_classes(config)
            parser = self._parser(self.subcommand)
            self._settings = settings_of(yaml.safe_load(parser.dump(config, skip_none=False)))
            weights = config.model.weights
            if config.get("ckpt_path"):
                config.model.weights = None  # the checkpoint's own replace them, and their file may be gone
            super().instantiate_classes()
            config.model.weights = weights

    @override
    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        pruner = self._get(self.config_init, "pruner")
        if ablation := self._get(self.config, "ablation"):
            if pruner is None:
                raise SparsityError(f"--ablation {ablation} breaks the mask of a pruner; give one with --pruner")
            pruner.ablation = ablation
        config = {**self._get(self.config_init, "trainer"), **kwargs}
        if self.subcommand != "fit":  # an evaluation is no run: it leaves nothing that nobody asked for
            self.save_config_callback = None
            config["logger"] = config["logger"] if config["logger"] not in (None, True) else False
        own = config["callbacks"] or []
        own = own if isinstance(own, list) else [own]
        if self.subcommand == "predict":
            own = [*own, PredictionWriter(self._get(self.config, "output"))]
        config["callbacks"] = [pruner or KeepMasks(), *own, SettingsInCheckpoints(self._settings)]
        _require_no_null(config)
        trainer = self._instantiate_trainer(config, _default_callbacks(config, own))
        require_whole_number("trainer.accumulate_grad_batches", config["accumulate_grad_batches"], at_least=1)
        if config["sync_batchnorm"] and trainer.world_size > 1 and trainer.strategy.root_device.type == "cpu":
            raise SparsityError("trainer.sync_batchnorm works on GPUs alone; leave it out, or train in one process")
        self._require_something_to_evaluate(config)
        use_lean_loop(trainer)
        return trainer

    def _require_something_to_evaluate(self, trainer: dict[str, Any]) -> None:
        stages = {"validate": "val", "test": "test", "predict": "predict"}
        asked = {self.subcommand} | ({"test"} if self._get(self.config, "test_after_fit") else set())
        for command, stage in stages.items():
            if command in asked and trainer[f"limit_{stage}_batches"] == 0:
                raise SparsityError(f"trainer.limit_{stage}_batches 0 leaves nothing to {command}; leave it out")
        if "test" in asked and not is_overridden("test_dataloader", self.datamodule, pl.LightningDataModule):
            what = "test_after_fit" if self.subcommand == "fit" else "test"
            raise SparsityError(f"{what} needs test images, and {type(self.datamodule).__name__} has none")

    @override
    def after_instantiate_classes(self) -> None:
        if (name := self._get(self.config, "ckpt_path")) in ("last", "best"):
            newest = newest_checkpoint(runs_folder(self.trainer), name)
            rank_zero_info(f"--ckpt_path {name} is {newest}")
            for config in (self.config, self.config_init):
                config[self.subcommand].ckpt_path = str(newest)
        if path := self._get(self.config, "ckpt_path"):
            checkpoint = read_intact_checkpoint(Path(path))
            require_fitting(checkpoint, self.model, Path(path))
            if self.subcommand == "fit":
                _require_same_pruner(checkpoint, self._get(self.config_init, "pruner"), path)
                require_same_settings(checkpoint, self._settings, path)

    def fit(self, **arguments: Any) -> None:
        """Fit; one that fails before its first step leaves no run folder behind."""
        start = time.perf_counter()
        own: list[Path] = []
        try:
            own = claim_run_folder(self.trainer)
            self.trainer.fit(**arguments)
            self._seconds = time.perf_counter() - start
        except BaseException as error:
            if self.trainer.global_step == 0 and own:
                _remove_unused_run(own)
            if isinstance(error, OSError) and is_of_the_disk(error):
                what = error.filename or f"the log in {own[0] if own else runs_folder(self.trainer)}"
                raise SparsityError(f"{cannot_write(error, what)}; {self._how_to_go_on()}") from error
            if isinstance(error, NonFiniteError) and (saved := self._last_saved()):
                raise NonFiniteError(f"{error}; {saved} was saved before") from error
            if lost_another(error):
                raise SparsityError(f"another process of this fit has ended; {self._how_to_go_on()}") from error
            if number := signal_behind(error):
                print(f"ended by {number.name}; {self._how_to_go_on()}", file=sys.stderr)
                sys.exit(128 + number)
            raise

    def _last_saved(self) -> str | None:
        path = getattr(self.trainer.checkpoint_callback, "last_model_path", "") or self._get(self.config, "ckpt_path")
        return path if path and Path(path).exists() else None

    def _how_to_go_on(self) -> str:
        saved = self._last_saved()
        return f"--ckpt_path {saved} goes on from there" if saved else "nothing was saved yet, so start anew"

    def after_fit(self) -> None:
        """Test the best and the last network if asked to, and say in one line what came out."""
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        accuracies: dict[str, float] = {}
        if self._get(self.config, "test_after_fit"):
            saved = _saved_checkpoints(self.trainer, self._get(self.config, "ckpt_path"))
            accuracies = {name: self._test_accuracy(path) for name, path in saved.items()}
        self._summarise(accuracies, run_folder(self.trainer))

    def _test_accuracy(self, path: str) -> float:
        loggers, self.trainer.loggers = self.trainer.loggers, []
        metrics = self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path=path, verbose=False)
        self.trainer.loggers = loggers
        if not metrics or "test/accuracy" not in metrics[0]:
            raise SparsityError("the data have no test images; leave test_after_fit out")
        return float(metrics[0]["test/accuracy"])

    @rank_zero_only
    def _summarise(self, accuracies: dict[str, float], folder: Path | None) -> None:
        pruner = self._get(self.config_init, "pruner")
        method, asked = (_method(pruner), pruner.density) if pruner else (None, None)
        shape = known_shape(self.trainer, self.model)
        summary = {
            **run_summary(self.model.network, shape, method, asked),
            "test_accuracy": accuracies,
            "seed": self._get(self.config, "seed_everything"),
            "epochs": self.trainer.current_epoch,
            "seconds": round(self._seconds, 1),
        }
        for logger in self.trainer.loggers:
            logger.log_metrics({f"test/{name}_accuracy": value for name, value in accuracies.items()})
            logger.save()
        if folder:
            write_atomically(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")
        print(one_line(summary, None if folder is None else str(folder)))


class FitConfigs(SparsityCLI):
    """Completes arguments of `fit` without running anything; its parser is built once, which takes longest."""

    def __init__(self) -> None:
        with suppress(_ParserIsBuilt):
            super().__init__([])

    @override
    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        raise _ParserIsBuilt

    def complete(self, arguments: Sequence[str]) -> str:
        """The complete config that `sparsity fit` would run with some arguments, as YAML.

        Raises:
            SparsityError: If it would refuse them.
        """
        parser = self._subcommand_parsers["fit"]
        parser.exit_on_error = False
        try:
            config: str = parser.dump(parser.parse_args(list(arguments)))
        except ArgumentError as error:
            raise SparsityError(_one_sentence(str(error))) from error
        return config


class _ParserIsBuilt(Exception):  # noqa: N818 - nothing is wrong
    pass


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake or a full disk ends in one sentence on stderr and exit code 2.

    Ended by Ctrl-C or SIGTERM, the exit code is that of shells: 128 and the number of the signal.
    """
    for message in _NOT_FOR_OUR_USERS:
        warnings.filterwarnings("ignore", message=message)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(_is_no_advertisement)
    arguments = sys.argv[1:] if args is None else list(args)
    try:
        if arguments and arguments[0] in _COMMANDS:
            _run_command(*arguments)
        else:
            SparsityCLI(args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        mistake = sentence_of(error)
        if mistake is None:
            raise
        if is_first_to_say(mistake):
            print(f"error: {mistake}", file=sys.stderr)
        sys.exit(2)


def _study(**arguments: Any) -> None:
    study(FitConfigs().complete, **arguments)


_COMMANDS: dict[str, Callable[..., None]] = {
    "analyze": analyze,
    "convert": convert,
    "report": report,
    "study": _study,
}


def _command_parser(name: str) -> OneSentenceParser:
    parser = OneSentenceParser(prog=f"sparsity {name}", description=_SUBCOMMANDS[name])
    if name == "analyze":
        files = "Checkpoints of this program, of SynFlow's or of Gem-Miner's, in any mix."
        labels = "Names of the networks in tables and figures, one per checkpoint. Default: from the paths."
        parser.add_argument("checkpoints", nargs="+", type=str, help=files)
        parser.add_argument("--names", nargs="+", type=str, help=labels)
    elif name == "report":
        places = "Folders, of which every run is taken, and checkpoint files, in any mix."
        parser.add_argument("paths", nargs="+", type=str, help=places)
    elif name == "convert":
        parser.add_argument("path", type=str, help="A checkpoint of SynFlow's program or Gem-Miner's.")
    elif name == "study":
        only_list = "Only list the runs and what would happen to them."
        parser.add_argument("--dry_run", action="store_true", help=only_list)
    function = study if name == "study" else _COMMANDS[name]
    by_hand: set[str | int] = {"checkpoints", "names", "path", "paths", "resolve", "dry_run"}
    parser.add_function_arguments(function, skip=by_hand, as_group=False)
    return parser


def _run_command(name: str, *arguments: str) -> None:
    parser = _command_parser(name)
    parsed = parser.parse_args(list(arguments))
    require_classes(parsed)
    config = parser.instantiate_classes(parsed)
    _COMMANDS[name](**config.as_dict())


def _one_sentence(message: str, options: Sequence[str] = ()) -> str:
    packages = (sparsity.callbacks, sparsity.datamodules, sparsity.networks, torch.optim, lr_scheduler)
    names = {name for package in packages for name, value in vars(package).items() if isinstance(value, type)}
    return one_sentence(message, sorted(names), options)


def _options() -> list[str]:
    """The options of a fit by their dotted names, those of classes that can be chosen too, but for schedules' many."""
    chosen = {
        "trainer": (pl.Trainer,),
        "model": (SparseClassifier,),
        "pruner": _public(sparsity.callbacks, PruningCallback),
        "data": _public(sparsity.datamodules, pl.LightningDataModule),
        "model.network": _public(sparsity.networks, torch.nn.Module),
        "model.optimizer": _public(torch.optim, torch.optim.Optimizer),
    }
    names = [(place, name) for place, kinds in chosen.items() for kind in kinds for name in signature(kind).parameters]
    return list(dict.fromkeys(f"{place}.{name}" for place, name in names))


def _public(package: Any, kind: type) -> list[type]:
    return [value for value in vars(package).values() if isinstance(value, type) and issubclass(value, kind)]


def _require_no_null(trainer: dict[str, Any]) -> None:
    """Refuse null where Lightning takes none; the parser lets it pass, and some of it fails only in the fit."""
    for name, parameter in signature(pl.Trainer).parameters.items():
        if parameter.annotation in (bool, int, float) and trainer.get(name) is None:
            raise SparsityError(f"trainer.{name} must be of type {parameter.annotation.__name__}, not null")


def _method(pruner: PruningCallback) -> str:
    name = type(pruner).__name__
    return name if pruner.ablation is None else f"{name} ({pruner.ablation})"


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    return "Tip:" not in record.getMessage()


def _default_callbacks(trainer: dict[str, Any], own: list[Callback]) -> list[Callback]:
    """What every run has unless the user configured another of its kind or switched it off."""
    defaults: list[Callback] = []
    if trainer["barebones"]:
        return defaults
    if trainer["enable_progress_bar"] is not False and not _any(own, ProgressBar):
        defaults.append(QuietProgressBar())
    if trainer["enable_checkpointing"] is not False and not _any(own, Checkpoint):
        defaults.append(SparseCheckpoint())
    if trainer["logger"] is not False and not trainer["fast_dev_run"] and not _any(own, LearningRateMonitor):
        defaults.append(LearningRateMonitor(logging_interval="epoch"))
    defaults += [kind() for kind in (DensityMonitor, StopOnDivergence) if not _any(own, kind)]
    return defaults


def _any(callbacks: list[Callback], kind: type[Callback]) -> bool:
    return any(isinstance(callback, kind) for callback in callbacks)


def _saved_checkpoints(trainer: pl.Trainer, resumed: str | None) -> dict[str, str]:
    """The best and the last of a fit; one that is resumed at its end saves nothing more."""
    callback = trainer.checkpoint_callback
    found = {name: getattr(callback, f"{name}_model_path", "") for name in ("best", "last")}
    if resumed and not found["last"] and read_checkpoint(Path(resumed))["global_step"] == trainer.global_step:
        found["last"] = resumed
    return {name: path for name, path in found.items() if path}


def _remove_unused_run(made: list[Path]) -> None:
    """Remove the new run's folder, and others made for it, if it holds nothing but what is written before training."""
    folder = made[0]
    with suppress(OSError):  # there is none, or it holds a checkpoint
        (folder / CHECKPOINTS).rmdir()
    written = list(folder.glob("*"))
    if all(f.name.startswith("events.out.tfevents") or f.name in (CONFIG, "hparams.yaml") for f in written):
        for file in written:
            file.unlink()
        with suppress(OSError):  # other runs are beside it
            for path in made:
                path.rmdir()


def _require_same_pruner(checkpoint: dict[str, Any], pruner: PruningCallback | None, path: str) -> None:
    """Refuse to resume under another pruner, which would prune a second time."""
    states = checkpoint.get("callbacks", {})
    saved = next((name for name, state in states.items() if isinstance(state, dict) and "density" in state), None)
    configured = type(pruner).__name__ if pruner else None
    way_out = f"use the same, or start a new run from its weights with --model.weights {path}"
    if saved != configured:
        raise SparsityError(f"{path} is of a run with pruner {saved}, and this one has {configured}; {way_out}")
    if pruner and states[saved].get("ablation") != pruner.ablation:
        raise SparsityError(
            f"{path} is of a run with ablation {states[saved].get('ablation')}, and this one has {pruner.ablation}; "
            f"{way_out}"
        )
    # A mask that is read from a file brings its own density.
    if pruner and not isinstance(pruner, MaskFrom) and states[saved]["density"] != pruner.density:
        raise SparsityError(
            f"{path} is of a run with density {states[saved]['density']:g}, and this one asks for "
            f"{pruner.density:g}; {way_out}"
        )
