"""The commands that need a Trainer: fit, validate, test and predict."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import yaml
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities import rank_zero_info
from pytorch_lightning.utilities.model_helpers import is_overridden
from typing_extensions import override

import sparsity
from sparsity.callbacks import KeepMasks, PruningCallback
from sparsity.callbacks.predictions import PredictionWriter
from sparsity.checkpoints.exported import is_exported
from sparsity.checkpoints.loading import load_network
from sparsity.checkpoints.reading import require_fitting
from sparsity.classifier import SparseClassifier
from sparsity.cli import COMMANDS, WITH_TRAINER
from sparsity.cli.defaults import default_callbacks, require_no_null
from sparsity.cli.fit import Fit, SaveConfig, method_of
from sparsity.cli.parser import OneSentenceParser, command_parser
from sparsity.cli.resume import read_intact_checkpoint, require_same_pruner
from sparsity.diagnosis import blaming
from sparsity.errors import SparsityError, require_whole_number
from sparsity.forward.float32 import choose_products
from sparsity.masks import is_mask_key, masks
from sparsity.pruning.ablation import Ablation
from sparsity.runs.claiming import runs_folder
from sparsity.runs.class_paths import require_classes
from sparsity.runs.dashboards import RunOnDashboards, hyperparameters, label
from sparsity.runs.folder import checkpoint_of, folder_of, newest_checkpoint
from sparsity.runs.resuming import SettingsInCheckpoints, require_same_settings, settings_of
from sparsity.runs.summary import unpruned
from sparsity.trainer.internals import help_texts, instantiate, name_run, options_of, subcommands_of, use_lean_loop

_SUBCOMMANDS = {**COMMANDS, **WITH_TRAINER}


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
            parser_kwargs={"description": sparsity.__doc__, "version": sparsity.__version__},
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
            type=Ablation | None,
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
        subcommands = subcommands_of(self.parser)
        for name in COMMANDS:  # listed here; `main` runs them without a Trainer
            subcommands.add_subcommand(name, command_parser(name))
        self._subcommand_parsers["predict"].add_argument(
            "--output",
            type=str,
            default="predictions",
            help="A new folder for the predictions; if there is one, a number is added to its name.",
        )
        for name, listed in help_texts(subcommands).items():
            listed.help = _SUBCOMMANDS[name]
        for name, parser in self._subcommand_parsers.items():
            parser.description = f"{_SUBCOMMANDS[name]} Any YAML given by --config can be overridden by flags."
            parser.groups["data"].title = "The images, and how they are split, batched and augmented"  # type: ignore[index]
            what = (
                "A checkpoint's path, a run's folder, or `last` or `best` for the newest run's; to evaluate, also an "
                "export's folder."
            )
            options_of(parser)["ckpt_path"].help = what

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
    def _add_instantiators(self) -> None:
        """Not here by a method that jsonargparse calls deprecated, but where they are used."""

    @override
    def _dump_config(self) -> None:
        """As Lightning's, without an argument that jsonargparse calls deprecated."""
        if not hasattr(self, "config_dump"):
            config = yaml.safe_load(self.parser.dump(self.config, skip_link_targets=False, skip_unset=False))
            self.config_dump = config[self.subcommand]

    @override
    def instantiate_classes(self) -> None:
        with blaming(f"the configuration of {self.subcommand}"):
            config = self.config[self.config.subcommand]
            require_classes(config)
            parser = self._parser(self.subcommand)
            self._settings = settings_of(yaml.safe_load(parser.dump(config, skip_unset=False)))
            weights = config.model.weights
            if config.get("ckpt_path"):
                config.model.weights = None  # the checkpoint's own replace them, and their file may be gone
            self.config_init = instantiate(self.parser, self.config, self)
            config.model.weights = weights
            self.datamodule = self._get(self.config_init, "data")
            self.model = self._get(self.config_init, "model")
            if is_exported(config.get("ckpt_path") or ""):
                self._take_export(config.ckpt_path)
            self._add_configure_optimizers_method_to_model(self.subcommand)
            self.trainer = self.instantiate_trainer()

    def _take_export(self, path: str) -> None:
        """Evaluate what `export` wrote, whose layers may be smaller than their class makes them."""
        if self.subcommand == "fit":
            raise SparsityError(
                f"{path} was written by export and holds nothing of a fit to go on with; go on from the checkpoint "
                "that it was made of"
            )
        try:
            self.model.network = load_network(path)
        except SparsityError:  # of a class that a file cannot name
            self.model.network = load_network(path, network=self.model.network)
        for config in (self.config, self.config_init):
            config[self.subcommand].ckpt_path = None  # it is read

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
        if self.subcommand == "fit":
            config["callbacks"].append(RunOnDashboards(hyperparameters(self._settings)))
        require_no_null(config)
        trainer = self._instantiate_trainer(config, default_callbacks(config, own))
        require_whole_number("trainer.accumulate_grad_batches", config["accumulate_grad_batches"], at_least=1)
        if config["sync_batchnorm"] and trainer.world_size > 1 and trainer.strategy.root_device.type == "cpu":
            raise SparsityError("trainer.sync_batchnorm works on GPUs alone; leave it out, or train in one process")
        self._require_something_to_evaluate(config)
        use_lean_loop(trainer)
        self._products = choose_products(trainer.strategy.root_device)
        if self._products != "float32":
            rank_zero_info(f"float32 numbers are multiplied as {self._products}, and in full to find a mask")
        return trainer

    def _name(self, resumed: Mapping[str, Any] | None) -> str:
        """What the run is called in a list of many.

        Args:
            resumed: The tensors of the checkpoint that it goes on from.
        """
        pruner, seed = self._get(self.config_init, "pruner"), self._get(self.config, "seed_everything")
        if pruner is not None:
            return label(method_of(pruner), pruner.density, seed)
        found = list(masks(self.model.network).values())
        if resumed is not None:
            found = [tensor for name, tensor in resumed.items() if is_mask_key(name, resumed)]
        return label(unpruned(sum(int(m.sum()) for m in found), sum(m.numel() for m in found)), None, seed)

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
            self._take_checkpoint(newest_checkpoint(runs_folder(self.trainer), name), name)
        elif name is not None and Path(name).is_dir():
            choices = ("last",) if self.subcommand == "fit" else ("best", "last")
            self._take_checkpoint(checkpoint_of(Path(name), *choices), name)
        resumed = None
        if path := self._get(self.config, "ckpt_path"):
            checkpoint = read_intact_checkpoint(Path(path))
            require_fitting(checkpoint, self.model, Path(path))
            if self.subcommand == "fit":
                require_same_pruner(checkpoint, self._get(self.config_init, "pruner"), path)
                require_same_settings(checkpoint, self._settings, path)
            resumed = checkpoint["state_dict"]
        if self.subcommand == "fit":
            for logger in self.trainer.loggers:
                name_run(logger, self._name(resumed))

    def _take_checkpoint(self, path: Path, name: str) -> None:
        ended = ", of a run that came to its end" if self.subcommand == "fit" and folder_of(path).is_finished else ""
        rank_zero_info(f"--ckpt_path {name} is {path}{ended}")
        for config in (self.config, self.config_init):
            config[self.subcommand].ckpt_path = str(path)

    def fit(self, **arguments: Any) -> None:
        """Fit; one that fails before its first step leaves no run folder behind."""
        self._fit = Fit(self.trainer, self._get(self.config, "ckpt_path"), self._products)
        self._fit.run(**arguments)

    def after_fit(self) -> None:
        """Test the best and the last network if asked to, and say in one line what came out."""
        pruner, seed = self._get(self.config_init, "pruner"), self._get(self.config, "seed_everything")
        tested = self.datamodule if self._get(self.config, "test_after_fit") else None
        self._fit.conclude(self.model, pruner, seed, tested)
