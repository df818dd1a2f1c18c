"""The command `convert`."""

from torch import nn

from sparsity.checkpoints.layouts import Kind, MaskChoice, detect_kind
from sparsity.checkpoints.loading import load_network
from sparsity.checkpoints.network_files import read_network_file
from sparsity.checkpoints.writing import save_checkpoint
from sparsity.cli.checkpoints import checkpoint_in
from sparsity.cli.parser import OneSentenceParser, parser_of
from sparsity.masks import density, kept, sizes


def parser() -> OneSentenceParser:
    """Of the arguments of `convert`."""
    file = "A checkpoint of SynFlow's program, Gem-Miner's, OpenLTH or others, see --kind."
    return parser_of("convert", convert, "path", file)


def convert(
    path: str,
    output: str,
    kind: Kind | None = None,
    mask: MaskChoice = "effective",
    network: nn.Module | None = None,
) -> None:
    """Turn another program's checkpoint into one of ours, which test, fit and analyze read.

    Args:
        path: A checkpoint of SynFlow's program, Gem-Miner's, OpenLTH or another that `kind` names.
        output: The file to write; it must not exist.
        kind: Who wrote it. Default: told from its keys.
        mask: For Gem-Miner's files: the mask its forward pass uses, or the flags alone.
        network: Of the checkpoint's architecture, if its class is not one of ours: my_module.MyNetwork, a function that
            returns one, or a YAML file of class_path and init_args. Whoever reads the output has to name it again.

    Raises:
        SparsityError: If it cannot be read, or the output exists.
    """
    path = checkpoint_in(path)
    found = load_network(path, kind, mask, network)
    save_checkpoint(found, output)
    layout = kind or ("its own network's" if network is not None else _detected(path))
    weights, total = sum(kept(found).values()), sum(sizes(found).values())
    print(
        f"{path} ({layout}): {type(found).__name__} at density {density(found):.6g} "
        f"({weights:,} of {total:,} weights), written to {output}"
    )


def _detected(path: str) -> Kind:
    checkpoint = read_network_file(path)
    return "sparsity" if checkpoint.from_classifier else detect_kind(checkpoint.state)


run = convert
