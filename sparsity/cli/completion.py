"""The command `completion`: what a shell needs to complete commands, options and classes."""

import argparse
from importlib import import_module
from typing import Any, Literal

from sparsity.cli import COMMANDS, WITH_TRAINER
from sparsity.cli.parser import OneSentenceParser, add_options_of, choices_of_fit, command_parser, options_of_fit
from sparsity.errors import SparsityError
from sparsity.trainer.internals import options_of

Shell = Literal["bash", "zsh", "tcsh"]

_OF_FIT = ("config", "seed_everything", "ablation", "test_after_fit", "ckpt_path")
_FILES = ("config", "ckpt_path", "output", "model.weights", "pruner.mask_from", "weights")


def completion(shell: Shell) -> None:
    """Print a script that completes the program `sparsity` in a shell.

    Args:
        shell: Whose: bash, zsh or tcsh.

    Raises:
        SparsityError: If shtab, which writes it, is not installed.
    """
    try:
        shtab: Any = import_module("shtab")
    except ImportError as error:
        raise SparsityError("completion needs shtab; install it with pip install shtab") from error
    print(shtab.complete(_plain_parser(shtab.FILE), shell))


def _plain_parser(file: object) -> argparse.ArgumentParser:
    """All commands with their options, as argparse has them: jsonargparse's own script looks into each class's classes.

    Args:
        file: What marks an option as a file's.
    """
    root = argparse.ArgumentParser(prog="sparsity")
    commands = root.add_subparsers()
    choices, options = choices_of_fit(), dict.fromkeys((*_OF_FIT, *options_of_fit()))
    for name, text in WITH_TRAINER.items():
        own = commands.add_parser(name, help=text)
        for option in options:
            added = own.add_argument(f"--{option}", choices=choices.get(option))
            if option in _FILES:
                added.complete = file  # type: ignore[attr-defined]
    for name, text in COMMANDS.items():
        own = commands.add_parser(name, help=text)
        for action in options_of(import_module(f"sparsity.cli.{name}").parser()).values():
            if not action.option_strings:
                own.add_argument(action.dest, nargs="*", choices=action.choices).complete = file  # type: ignore[attr-defined]
            elif action.dest != "help":
                own.add_argument(*action.option_strings, choices=_words(action.choices))
    return root


def _words(choices: Any) -> list[str] | None:
    return None if choices is None else [str(choice) for choice in choices]


def parser() -> OneSentenceParser:
    """Of the arguments of `completion`."""
    own = command_parser("completion")
    own.add_argument("shell", type=Shell, help="Whose.")
    add_options_of(own, completion, given=("shell",))
    return own


def run(**arguments: Any) -> None:
    """Print a script for a shell."""
    completion(**arguments)
