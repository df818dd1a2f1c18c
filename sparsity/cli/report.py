"""The command `report`."""

from sparsity.cli.parser import OneSentenceParser, add_options_of, command_parser
from sparsity.report.build import report as run


def parser() -> OneSentenceParser:
    """Of the arguments of `report`."""
    own = command_parser("report")
    places = "Folders, of which every run is taken, and checkpoint files, in any mix."
    own.add_argument("paths", nargs="+", type=str, help=places)
    add_options_of(own, run, given=("paths",))
    return own


__all__ = ["parser", "run"]
