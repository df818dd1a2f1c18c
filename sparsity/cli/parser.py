"""Parsers whose errors are one sentence, and what they know of the names that a user may have meant."""

import sys
from collections.abc import Callable, Sequence
from inspect import isabstract, signature
from os import PathLike
from typing import Any, NoReturn

import pytorch_lightning as pl
import torch
import yaml
from jsonargparse import Namespace, get_loader, set_loader
from torch.optim import lr_scheduler
from typing_extensions import override

# Importing them makes their classes known to YAML and flags by their bare names.
import sparsity.callbacks
import sparsity.datamodules
import sparsity.networks
from sparsity.classifier import SparseClassifier
from sparsity.cli import COMMANDS
from sparsity.cli.config_files import require_arguments_of_classes, require_config
from sparsity.cli.parser_errors import one_sentence
from sparsity.runs.class_paths import require_classes
from sparsity.runs.yaml_files import load_yaml, read_ratios_as_text, require_bounded
from sparsity.trainer.internals import (
    FewClassesFormatter,
    ParserOfGivenArguments,
    config_loader,
    instantiate,
    options_of,
    subcommands_of,
)

_load_unchecked = get_loader("yaml")
read_ratios_as_text(config_loader())


def _load_checked(text: str) -> Any:
    require_bounded(text)
    if "\n" in text:  # a file that a config names
        load_yaml(text)
    loaded = _load_unchecked(text)
    require_arguments_of_classes(loaded)
    return loaded


set_loader("yaml", _load_checked, (yaml.YAMLError,))


class OneSentenceParser(ParserOfGivenArguments):
    """A parser whose errors are one sentence, without pages of usage before it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"prog": "sparsity", "formatter_class": FewClassesFormatter, **kwargs})

    @override
    def parse_path(self, path: str | PathLike[str], *args: Any, **kwargs: Any) -> Namespace:
        require_config(path)
        parsed: Namespace = super().parse_path(path, *args, **kwargs)
        return parsed

    @override
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # a parser within a parser, whose caller adds where it happened
            super().error(message, ex)
        own = list(options_of(self))
        options = options_of_fit() if "trainer.max_epochs" in own or subcommands_of(self) is not None else own
        print(f"error: {sentence(message, options)}", file=sys.stderr)
        sys.exit(2)


def command_parser(name: str) -> OneSentenceParser:
    """A parser for one of the `COMMANDS`, which run without a Trainer."""
    return OneSentenceParser(prog=f"sparsity {name}", description=COMMANDS[name])


def parser_of(
    command: str,
    function: Callable[..., Any],
    argument: str,
    text: str,
    several: bool = False,
    skip: Sequence[str] = (),
) -> OneSentenceParser:
    """A parser for a command that takes one argument by its place, or several of a kind, and options.

    Args:
        command: One of the `COMMANDS`.
        function: That it runs; its docstring has the options' help.
        argument: The parameter that is given by its place.
        text: Its help.
        several: Whether there may be more than one.
        skip: Parameters that are no options, or that the caller adds.
    """
    own = command_parser(command)
    own.add_argument(argument, type=str, nargs="+" if several else None, help=text)
    add_options_of(own, function, given=(argument, *skip))
    return own


def add_options_of(parser: OneSentenceParser, function: Callable[..., Any], given: Sequence[str]) -> None:
    """Add an option for each parameter of the function that a command runs.

    Args:
        parser: Of the command.
        function: Its docstring has the help.
        given: Parameters that are arguments already, or none of the user's business.
    """
    skip: set[str | int] = set(given)
    parser.add_function_arguments(function, skip=skip, as_group=False, sub_configs=True)


def made(parser: OneSentenceParser, arguments: Sequence[str]) -> dict[str, Any]:
    """What a command's arguments say, with objects made of the classes that they name."""
    parsed = parser.parse_args(list(arguments))
    require_classes(parsed)
    values: dict[str, Any] = instantiate(parser, parsed).as_dict()
    return values


def sentence(message: str, options: Sequence[str] = ()) -> str:
    """A message of the parser's in one sentence, with the names of all classes that may have been meant."""
    packages = (sparsity.callbacks, sparsity.datamodules, sparsity.networks, torch.optim, lr_scheduler)
    names = {name for package in packages for name, value in vars(package).items() if isinstance(value, type)}
    return one_sentence(message, sorted(names), options)


def options_of_fit() -> list[str]:
    """The options of a fit by their dotted names, those of classes that can be chosen too, but for schedules' many."""
    chosen: dict[str, list[type]] = {"trainer": [pl.Trainer], "model": [SparseClassifier], **_classes()}
    names = [(place, name) for place, kinds in chosen.items() for kind in kinds for name in signature(kind).parameters]
    return list(dict.fromkeys([*(f"{place}.{name}" for place, name in names), *chosen]))


def choices_of_fit() -> dict[str, list[str]]:
    """By the options of a fit that name a class, the bare names of those that there are."""
    return {place: [kind.__name__ for kind in kinds if not isabstract(kind)] for place, kinds in _classes().items()}


def _classes() -> dict[str, list[type]]:
    return {
        "pruner": _public(sparsity.callbacks, sparsity.callbacks.PruningCallback),
        "data": _public(sparsity.datamodules, pl.LightningDataModule),
        "model.network": _public(sparsity.networks, torch.nn.Module),
        "model.optimizer": _public(torch.optim, torch.optim.Optimizer),
    }


def _public(package: Any, kind: type) -> list[type]:
    return [value for value in vars(package).values() if isinstance(value, type) and issubclass(value, kind)]
