"""The command `reproduce`."""

from typing import Any

from sparsity.cli.fit_configs import FitConfigs
from sparsity.cli.parser import OneSentenceParser, add_options_of, command_parser
from sparsity.reproduce.command import reproduce


def parser() -> OneSentenceParser:
    """Of the arguments of `reproduce`."""
    own = command_parser("reproduce")
    own.add_argument("groups", type=str, nargs="*", help="Of the figures; by default all.")
    own.add_argument("--dry_run", action="store_true", help="Only list what would be run.")
    add_options_of(own, reproduce, given=("resolve", "groups", "dry_run"))
    return own


def run(**arguments: Any) -> None:
    """Compare with published figures."""
    reproduce(FitConfigs().complete, **arguments)
