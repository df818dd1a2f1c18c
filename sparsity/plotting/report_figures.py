"""The figures of a report: which ones there are, under which heading, and how each is read.

Importing this module imports matplotlib. Figures come one by one, so that only one is in memory at a time.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from matplotlib.figure import Figure

from sparsity.analysis.comparison.measures import MEASURES
from sparsity.analysis.comparison.results import Comparison
from sparsity.analysis.topology.pooled import pooled
from sparsity.plotting.figures import pair_matrices, topology_figures
from sparsity.plotting.plots import (
    accuracy_density_figure,
    first_layer_figure,
    learning_curves_figure,
)
from sparsity.report.networks import Repeats, Setting, method_order, setting_labels

_MOST_MAPS = 12
"""More first layers than these are not looked at one by one; one of each method is drawn."""


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure with its words.

    Args:
        section: The heading it belongs under.
        title: What it shows, in a few words.
        caption: What is seen and how to read it.
        label: Of the networks that are seen.
        name: For a file.
        figure: Itself.
    """

    section: str
    title: str
    caption: str
    label: str
    name: str
    figure: Figure


def drawings(settings: Mapping[Setting, Repeats], comparisons: Mapping[Setting, Comparison]) -> Iterator[Drawing]:
    """All figures of a report.

    Args:
        settings: The networks.
        comparisons: Of the settings that have two networks or more.
    """
    labels = setting_labels(settings)
    for architecture in dict.fromkeys(setting.architecture for setting in settings):
        yield from _accuracy(architecture, settings)
    for setting, repeats in settings.items():
        yield from _training(labels[setting], repeats)
        if setting.density < 1:
            yield from _topology(labels[setting], repeats)
        yield from _first_layers(labels[setting], repeats)
    for setting, comparison in comparisons.items():
        yield from _matrices(labels[setting], comparison)


def _accuracy(architecture: str, settings: Mapping[Setting, Repeats]) -> Iterator[Drawing]:
    points = {
        method: [
            (run.topology.densities.density, run.accuracy)
            for setting, repeats in settings.items()
            for run in repeats.get(method, ())
            if setting.architecture == architecture and run.accuracy is not None
        ]
        for method in method_order(settings)
    }
    if points := {method: pairs for method, pairs in points.items() if pairs}:
        caption = (
            "Mean over seeds, with bars of one standard deviation where there are two seeds or more, against the "
            "density that was reached, on a logarithmic axis."
        )
        name = _file_name("accuracy", *[architecture] * (len({setting.architecture for setting in settings}) > 1))
        yield Drawing("accuracy", "Test top-1", caption, architecture, name, accuracy_density_figure(points))


def _training(label: str, repeats: Repeats) -> Iterator[Drawing]:
    for tag, words in (("val/accuracy", "validation accuracy"), ("train/loss", "training loss")):
        runs = {method: [run.curves[tag] for run in same if tag in run.curves] for method, same in repeats.items()}
        curves = {method: found for method, found in runs.items() if found}
        if curves:
            figure = learning_curves_figure(curves, words)
            yield Drawing("training", words.capitalize(), _CURVES, label, _file_name(words, label), figure)


def _topology(label: str, repeats: Repeats) -> Iterator[Drawing]:
    methods = {method: pooled([run.topology for run in runs]) for method, runs in repeats.items()}
    for name, figure in topology_figures(methods):
        section, title, caption = _TOPOLOGY[name]
        yield Drawing(section, title, caption, label, _file_name(name, label), figure)


def _first_layers(label: str, repeats: Repeats) -> Iterator[Drawing]:
    runs = [run for same in repeats.values() for run in same]
    if len(runs) > _MOST_MAPS:
        runs = [same[0] for same in repeats.values()]
    maps = {run.name: run.topology.first_layer for run in runs if run.topology.first_layer is not None}
    if maps:
        name = _file_name("first_layer", label)
        yield Drawing("first-layers", "Weights by place", _MAPS, label, name, first_layer_figure(maps))


def _matrices(label: str, comparison: Comparison) -> Iterator[Drawing]:
    for value, figure in pair_matrices(comparison):
        found = MEASURES[value]
        yield Drawing(found.section, found.title, found.caption, label, _file_name(value, label), figure)


_CURVES = "Each method's mean over seeds; thin lines are the single runs."
_MAPS = (
    "The weights of the first layer, summed over its units, where they lie in the image: yellow where the layer as a "
    "whole adds, blue where it subtracts, grey where nothing is kept or it cancels."
)
_VIOLIN = "Bars span the middle half of the values, dots are medians; all units of a method's runs together."
_TOPOLOGY = {
    "density": (
        "density",
        "Density per layer",
        "The share of its weights that each layer keeps, mean over seeds; in the legend that of the whole network.",
    ),
    "effective_density": (
        "density",
        "Effective density per layer",
        "The share of weights that lie on a path of kept weights from input to output, mean over seeds. Where it falls "
        "below the density, weights were kept that can do nothing.",
    ),
    "gaps": (
        "clusters",
        "Gaps between kept inputs",
        f"How far it is from one kept input of a unit to its next; 1 is a direct neighbour. {_VIOLIN}",
    ),
    "runs": (
        "clusters",
        "Runs of neighbouring inputs",
        "Into how many runs of neighbours the kept inputs of a unit fall; fewer runs at the same density mean larger "
        f"clusters. {_VIOLIN}",
    ),
    "positive_shares": (
        "clusters",
        "Signs of kept weights",
        f"The share of positive weights among those that a unit keeps. {_VIOLIN}",
    ),
    "kernel_scores": (
        "kernels",
        "Clusters in kernels",
        "The share of a filter's groups of touching weights that have more than one weight: 0, all weights stand "
        f"alone; 1, all hang together. {_VIOLIN}",
    ),
    "common_kernels": (
        "kernels",
        "Most common kernels",
        "The most frequent patterns of kept (dark) weights among all kernels of the usual size, with their share and "
        "number.",
    ),
}


def _file_name(*words: str) -> str:
    """Only characters that no file system minds: `gaps_10` for the gaps at 10 % density."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", " ".join(words).replace("% density", "")).strip("_")
