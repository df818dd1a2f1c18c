"""The command `pull`."""

from typing import Any

from sparsity.cli.parser import OneSentenceParser, parser_of
from sparsity.interop.hub import pull


def parser() -> OneSentenceParser:
    """Of the arguments of `pull`."""
    return parser_of("pull", pull, "repo", "The model's name on the Hub: user/name.")


def run(**arguments: Any) -> None:
    """Download an export."""
    pull(**arguments)
    print(f"written to {arguments['output']}")
