"""The command `study`."""

from typing import Any

from sparsity.cli.fit_configs import FitConfigs
from sparsity.cli.parser import OneSentenceParser, add_options_of, command_parser
from sparsity.study.launch import study


def parser() -> OneSentenceParser:
    """Of the arguments of `study`."""
    own = command_parser("study")
    only_list = "Only list the runs and what would happen to them."
    own.add_argument("--dry_run", action="store_true", help=only_list)
    add_options_of(own, study, given=("resolve", "dry_run"))
    return own


def run(**arguments: Any) -> None:
    """Run a study of fits."""
    study(FitConfigs().complete, **arguments)
