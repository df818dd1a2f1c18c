"""Names that other packages keep to themselves, and the versions with which they were tried.

Whatever of Lightning or jsonargparse this project needs beyond their public interface is here or in
`sparsity.trainer.lean_loop`, which is only imported with a version that is listed here.
"""

import re
import warnings
from argparse import Action
from collections import OrderedDict
from collections.abc import Collection, Mapping
from inspect import Parameter, isroutine, signature
from typing import Any

import pytorch_lightning as pl
from jsonargparse import SUPPRESS, ArgumentParser, DefaultHelpFormatter, Namespace
from jsonargparse._loaders_dumpers import get_yaml_default_loader
from pytorch_lightning.__version__ import version
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, _get_module_type, _InstantiatorFn
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import CombinedLoader
from typing_extensions import override

Versioned = TensorBoardLogger | CSVLogger
"""The loggers that have a folder for each version."""

COMPARED_LIGHTNING = ("2.6.1", "2.6.6")
"""The versions of Lightning whose training epoch the lean loop was compared with, step by step."""


def use_lean_loop(trainer: pl.Trainer) -> None:
    """Let a trainer that has not started yet train with the lean loop wherever that changes nothing but the speed.

    With a version of Lightning that it was not compared with, the loop is Lightning's own, which is slower.
    """
    if version in COMPARED_LIGHTNING:
        from sparsity.trainer.lean_loop import LeanEpochLoop

        loop = trainer.fit_loop.epoch_loop
        trainer.fit_loop.epoch_loop = LeanEpochLoop(trainer, loop.min_steps, loop.max_steps)


class FewClassesFormatter(DefaultHelpFormatter):
    """Help that names our classes alone where more are known than anybody reads, as of all `nn.Module`s there are."""

    MOST_NAMED = 60

    @override
    def _get_help_string(self, action: Action) -> str:
        text = super()._get_help_string(action)
        said, found, listed = text.partition(", known subclasses: ")
        classes = listed.removesuffix(")").split(", ")
        if len(classes) <= self.MOST_NAMED:
            return text
        own = [name for name in classes if re.fullmatch(r"sparsity\.(callbacks|datamodules|networks)\.\w+", name)]
        return f"{said}{found}{', '.join(own)}, and any other by its path)"


class ParserOfGivenArguments(LightningArgumentParser):
    """Leaves to functions and classes what the user did not give, where its default would not be the same said aloud.

    That is so for what a function passes on as `**kwargs`: the parser finds the defaults where they arrive, and the
    function may have others in mind, as `torchvision.models.resnext50_32x4d` for the groups of its convolutions. And it
    is so for defaults that are called: the parser takes a class for one that is to be made.
    """

    _own: Collection[str] | None = None

    @override
    def _add_signature_arguments(self, function_or_class: Any, method_name: Any, *args: Any, **kwargs: Any) -> Any:
        is_function = method_name is None and isroutine(function_or_class)
        before, self._own = self._own, signature(function_or_class).parameters if is_function else None
        try:
            return super()._add_signature_arguments(function_or_class, method_name, *args, **kwargs)
        finally:
            self._own = before

    @override
    def _add_signature_parameter(self, container: Any, nested_key: Any, param: Any, *args: Any, **kwargs: Any) -> Any:
        is_passed_on = self._own is not None and param.name not in self._own
        if param.default is not Parameter.empty and (is_passed_on or callable(param.default)):
            kwargs.setdefault("default", SUPPRESS)
        return super()._add_signature_parameter(container, nested_key, param, *args, **kwargs)


def training_loader(trainer: pl.Trainer) -> Any:
    """The loader of the fit, or its several as one, of which nothing was taken yet."""
    loop = trainer.fit_loop
    loop.setup_data()
    loader = trainer.train_dataloader
    if isinstance(loader, list | tuple | Mapping):
        loader = CombinedLoader(loader, loop._combined_loader._mode)  # type: ignore[union-attr]
    if trainer.ckpt_path:
        loop._combined_loader = None  # to be set up again when its state is there to be restored
    return loader


def on_device(trainer: pl.Trainer, batch: Any) -> Any:
    """What training makes of a batch of its loader: converted, transferred and changed by the hooks for that."""
    batch = trainer.precision_plugin.convert_input(batch)
    batch = trainer.lightning_module._on_before_batch_transfer(batch, dataloader_idx=0)
    return trainer.strategy.batch_to_device(batch, dataloader_idx=0)


def step_arguments(trainer: pl.Trainer, batch: Any) -> tuple[Any, ...]:
    """What `training_step` is called with for a first batch, which depends on its signature."""
    return tuple(trainer.fit_loop.epoch_loop._build_kwargs(OrderedDict(), batch, 0).values())


def instantiate(parser: ArgumentParser, config: Namespace, cli: LightningCLI | None = None) -> Namespace:
    """Make objects of the classes that a config names.

    Args:
        parser: Of the config.
        config: As it was parsed.
        cli: Whose model and data remember what they were made of, as hyper-parameters.
    """
    remembering = [] if cli is None else [
        (_InstantiatorFn(cli=cli, key="model"), _get_module_type(cli._model_class), cli.subclass_mode_model),
        (_InstantiatorFn(cli=cli, key="data"), _get_module_type(cli._datamodule_class), cli.subclass_mode_data),
    ]  # fmt: skip
    if "instantiators" in signature(parser.instantiate).parameters:
        made: Namespace = parser.instantiate(config, instantiators=remembering)
    else:
        with warnings.catch_warnings():  # jsonargparse before 4.53 has but a method that it calls deprecated
            warnings.simplefilter("ignore")
            for function, kind, with_subclasses in remembering:
                parser.add_instantiator(function, kind, subclasses=with_subclasses)
        made = parser.instantiate(config)
    return made


def subcommands_of(parser: ArgumentParser) -> Any:
    """What knows a parser's subcommands; None if it has none."""
    return parser._subcommands_action


def subcommand_parser(parser: ArgumentParser, name: str) -> Any:
    """The parser of one subcommand."""
    return subcommands_of(parser)._name_parser_map[name]


def help_texts(subcommands: Any) -> dict[str, Any]:
    """By the name of a subcommand, what `--help` lists of it; its `help` can be set."""
    return {choice.dest: choice for choice in subcommands._choices_actions}


def config_loader() -> type[Any]:
    """The loader of PyYAML with which jsonargparse reads configs and values on the command line."""
    loader: type[Any] = get_yaml_default_loader()  # type: ignore[no-untyped-call]
    return loader


def options_of(parser: ArgumentParser) -> dict[str, Any]:
    """A parser's options by their dotted names; their `help` can be set."""
    return {action.dest: action for action in parser._actions}


def asked_version(logger: Versioned) -> int | str | None:
    """The version that a logger was told to take; None if it takes the next."""
    return logger._version


def ask_version(logger: Versioned, version: int | str | None) -> None:
    """Tell a logger that has not started yet which version to take, a name or a number; None for the next."""
    logger._version = version


def name_run(logger: Logger, name: str) -> None:
    """Give a run the name that dashboards list it by, unless the user gave it one or it has started.

    TensorBoard's is that of a folder within the run's. Of its hyper-parameters Lightning then shows no metric of -1.
    """
    if isinstance(logger, TensorBoardLogger):
        logger._default_hp_metric = False
        if logger._sub_dir is None and not has_started(logger):
            logger._sub_dir = name
    elif isinstance(logger, WandbLogger):
        if logger._wandb_init["name"] is None:
            logger._name = logger._wandb_init["name"] = name
    elif isinstance(logger, MLFlowLogger) and logger._run_name is None:
        logger._run_name = name


def has_started(logger: Versioned) -> bool:
    """Whether a logger has begun to write."""
    return logger._experiment is not None


def averages_buffers(averaging: WeightAveraging) -> bool:
    """Whether a callback averages buffers beside weights."""
    return averaging._use_buffers
