"""The command `push`."""

from typing import Any

from sparsity.cli.parser import OneSentenceParser, add_options_of, command_parser
from sparsity.interop.hub import push


def parser() -> OneSentenceParser:
    """Of the arguments of `push`."""
    own = command_parser("push")
    own.add_argument("folder", type=str, help="That export wrote.")
    own.add_argument("repo", type=str, help="The model's name on the Hub: user/name.")
    add_options_of(own, push, given=("folder", "repo"))
    return own


def run(**arguments: Any) -> None:
    """Upload an export."""
    print(f"uploaded: {push(**arguments)}")
