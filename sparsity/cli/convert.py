"""The command `convert`."""

from sparsity.checkpoints.layouts import Kind, MaskChoice, detect_kind
from sparsity.checkpoints.loading import load_network
from sparsity.checkpoints.network_files import read_network_file
from sparsity.checkpoints.writing import save_checkpoint
from sparsity.cli.parser import OneSentenceParser, add_options_of, command_parser
from sparsity.masks import density, kept, sizes


def parser() -> OneSentenceParser:
    """Of the arguments of `convert`."""
    own = command_parser("convert")
    own.add_argument(
        "path", type=str, help="A checkpoint of SynFlow's program, Gem-Miner's, OpenLTH or others, see --kind."
    )
    add_options_of(own, convert, given=("path",))
    return own


def convert(path: str, output: str, kind: Kind | None = None, mask: MaskChoice = "effective") -> None:
    """Turn another program's checkpoint into one of ours, which test, fit and analyze read.

    Args:
        path: A checkpoint of SynFlow's program, Gem-Miner's, OpenLTH or another that `kind` names.
        output: The file to write; it must not exist.
        kind: Who wrote it. Default: told from its keys.
        mask: For Gem-Miner's files: the mask its forward pass uses, or the flags alone.

    Raises:
        SparsityError: If it cannot be read, or the output exists.
    """
    network = load_network(path, kind, mask)
    save_checkpoint(network, output)
    found = kind or _detected(path)
    weights, total = sum(kept(network).values()), sum(sizes(network).values())
    print(
        f"{path} ({found}): {type(network).__name__} at density {density(network):.6g} "
        f"({weights:,} of {total:,} weights), written to {output}"
    )


def _detected(path: str) -> Kind:
    checkpoint = read_network_file(path)
    return "sparsity" if checkpoint.from_classifier else detect_kind(checkpoint.state)


run = convert
