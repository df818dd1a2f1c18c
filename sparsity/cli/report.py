"""The command `report`."""

from sparsity.cli.parser import OneSentenceParser, parser_of
from sparsity.report.build import report as run


def parser() -> OneSentenceParser:
    """Of the arguments of `report`."""
    places = "Folders, of which every run is taken, and checkpoint files, in any mix."
    return parser_of("report", run, "paths", places, several=True)


__all__ = ["parser", "run"]
