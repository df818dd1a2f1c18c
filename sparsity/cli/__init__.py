"""The command line: a file per command, each a parser and a call."""

import gc
import logging
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

COMMANDS = {
    "analyze": "Analyse and compare trained networks, ours and published ones.",
    "benchmark": "Time trained networks: dense, with masks and compact.",
    "completion": "Print what a shell needs to complete commands, options and classes.",
    "connect": "Measure the straight line between two networks: linear mode connectivity.",
    "convert": "Turn another program's checkpoint into one of ours.",
    "export": "Write a network as a smaller equal one, in a format that other programs read.",
    "pull": "Download an exported network from the Hugging Face Hub.",
    "push": "Upload an exported network to the Hugging Face Hub.",
    "report": "Write one page on studies, runs and published networks.",
    "reproduce": "Run what published figures need, compare, and write a page of all of them.",
    "schema": "Print the JSON schema of configs or studies, by which editors complete and check them.",
    "show": "Draw a network, or two side by side, as a page that can be asked.",
    "study": "Run a grid of fits side by side, and write tables of results.",
}
"""Those that run without a Trainer, and what they do: `sparsity.cli.NAME` has a `parser` and a `run`."""

WITH_TRAINER = {
    "fit": "Prune and train a network.",
    "validate": "Evaluate a trained network on the validation images.",
    "test": "Evaluate a trained network on the test images.",
    "predict": "Compute a trained network's class probabilities for the test images.",
}
"""The others, of LightningCLI."""

_NOT_FOR_OUR_USERS = (
    # Lightning's own use of a deprecated name in torch.
    r".*isinstance\(treespec, LeafSpec\).*",
    # Metrics are logged once per epoch here, whatever the interval of steps is.
    r"The number of training batches .* is smaller than the logging interval",
    # Images are in memory: more workers are slower.
    r"The '\w+_dataloader' does not have many workers",
)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake or a full disk ends in one sentence on stderr and exit code 2.

    Ended by Ctrl-C or SIGTERM, the exit code is that of shells: 128 and the number of the signal.
    """
    with _nothing_collected():
        from sparsity.diagnosis import sentence_of  # here, so that this package itself needs nothing but Python

    for message in _NOT_FOR_OUR_USERS:
        warnings.filterwarnings("ignore", message=message)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(_is_no_advertisement)
    arguments = sys.argv[1:] if args is None else list(args)
    if not arguments:
        args = arguments = ["--help"]
    try:
        _run(arguments, args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        mistake = sentence_of(error)
        if mistake is None:
            raise
        from sparsity.distributed import is_first_to_say

        if is_first_to_say(mistake):
            print(f"error: {mistake}", file=sys.stderr)
        sys.exit(2)


def _run(arguments: Sequence[str], given: Sequence[str] | None) -> None:
    if arguments and arguments[0] in COMMANDS:
        with _nothing_collected():
            from sparsity.cli.parser import made

            command = import_module(f"sparsity.cli.{arguments[0]}")
        _leave_imports_alone(given)
        command.run(**made(command.parser(), arguments[1:]))
    else:
        with _nothing_collected():
            from sparsity.cli.lightning import SparsityCLI
        _leave_imports_alone(given)
        SparsityCLI(given)


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Imports make no garbage, and looking for it in all that they do make takes a fifth of their time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _leave_imports_alone(given: Sequence[str] | None) -> None:
    """What was imported stays, so it is never looked through again; only in a process that is all ours."""
    if given is None:
        gc.freeze()


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    return "Tip:" not in record.getMessage()
