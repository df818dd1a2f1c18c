"""The figures of `analyze`: what of its networks goes into which figures of the catalogue. Imports matplotlib."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path

from torch import Tensor, nn

from sparsity.analysis.comparison.results import Comparison
from sparsity.masks import masks
from sparsity.plotting.catalogue import (
    EXEMPLAR_FIGURES,
    IMAGE_FIGURES,
    SINGLE_NETWORK_FIGURES,
    TOPOLOGY_FIGURES,
    Figure,
    FirstLayer,
    Topologies,
    comparison_figures,
    drawn,
)
from sparsity.plotting.files import Kind, save_figure
from sparsity.tracking import tracked

_LONGEST = 80


def save_figures(
    folder: Path,
    kinds: Sequence[Kind],
    networks: Mapping[str, nn.Module],
    groups: Sequence[Topologies],
    comparisons: Sequence[Comparison],
    images: Tensor | None,
    exemplars: Tensor | None = None,
) -> None:
    """Draw and save all figures that the catalogue has for some networks.

    Args:
        folder: Without figures.
        kinds: Of files.
        networks: By name.
        groups: Their topologies, those together that can be compared.
        comparisons: Of the groups that have two networks or more.
        images: `[n, *input_shape]`, to show what excites the first layers; None, and that is left out.
        exemplars: `[n, *input_shape]`, those that pruning makes different; None if nobody looked for them.
    """
    if exemplars is not None and exemplars.ndim == 4 and len(exemplars):
        for spec, figure in drawn(EXEMPLAR_FIGURES, exemplars):
            save_figure(figure, folder / spec.name, kinds)
    figures = _figures(networks, groups, {found.names: found for found in comparisons}, images)
    for name, figure in tracked(figures, "figures"):
        save_figure(figure, folder / name, kinds)


def names_of_files(names: Sequence[str]) -> dict[str, str]:
    """A part of a file's name for each of some names: readable, short, and different from the others'."""
    short = [re.sub(r"[^A-Za-z0-9.+-]+", "_", name)[-_LONGEST:] for name in names]
    seen, found = set[str](), dict[str, str]()
    for name, text in zip(names, short, strict=True):
        tries = (text if number == 1 else f"{text}_{number}" for number in count(1))
        found[name] = next(one for one in tries if one.lower() not in seen)  # some file systems fold capitals
        seen.add(found[name].lower())
    return found


def _figures(
    networks: Mapping[str, nn.Module],
    groups: Sequence[Topologies],
    comparisons: Mapping[tuple[str, ...], Comparison],
    images: Tensor | None,
) -> Iterator[tuple[str, Figure]]:
    """With the names of their files."""
    for number, group in enumerate(groups, start=1):
        prefix = "" if len(groups) == 1 else f"group_{number}_"
        for spec, figure in drawn([*TOPOLOGY_FIGURES, *SINGLE_NETWORK_FIGURES], group):
            yield prefix + spec.name, figure
        if comparison := comparisons.get(tuple(group)):
            for of_pairs, figure in drawn(comparison_figures(), comparison):
                yield prefix + of_pairs.name, figure
    if images is None:
        return
    file_names = names_of_files(list(networks))
    for name, network in networks.items():
        first = FirstLayer(network, images, next(iter(masks(network))))
        for of_images, figure in drawn(IMAGE_FIGURES, first):
            yield f"{of_images.name}_{file_names[name]}", figure
