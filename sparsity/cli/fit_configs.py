"""Complete configs of fits, without running any."""

from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentError, capture_parser
from pytorch_lightning.cli import LightningArgumentParser
from typing_extensions import override

from sparsity.cli.lightning import SparsityCLI
from sparsity.cli.parser import sentence
from sparsity.errors import SparsityError
from sparsity.trainer.internals import subcommand_parser


class FitConfigs:
    """Completes arguments of `fit` without running anything; its parser is built once, which takes longest."""

    def __init__(self) -> None:
        self.parser = subcommand_parser(capture_parser(_OnlyParsing, ["fit"]), "fit")
        self.parser.exit_on_error = False

    def complete(self, arguments: Sequence[str]) -> str:
        """The complete config that `sparsity fit` would run with some arguments, as YAML.

        Raises:
            SparsityError: If it would refuse them.
        """
        try:
            config: str = self.parser.dump(self.parser.parse_args(list(arguments)))
        except ArgumentError as error:
            raise SparsityError(sentence(str(error))) from error
        return config


class _OnlyParsing(SparsityCLI):
    @override
    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        parser.parse_args(args)  # whatever is raised goes through to `capture_parser`
