"""The figures of a report: what of its networks goes into which figures of the catalogue.

Importing this module imports matplotlib. Figures are drawn when they are asked for: few are in memory at a time.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import Any, TypeVar

from sparsity.analysis.comparison.results import Comparison
from sparsity.analysis.topology.pooled import pooled
from sparsity.errors import SparsityError
from sparsity.plotting.catalogue import (
    SINGLE_NETWORK_FIGURES,
    TOPOLOGY_FIGURES,
    Figure,
    FigureSpec,
    Topologies,
    comparison_figures,
)
from sparsity.plotting.catalogue_of_studies import (
    ACCURACY_FIGURES,
    CURVE_FIGURES,
    NETWORK_FIGURES,
    PROPERTY_FIGURES,
    RANK_FIGURES,
    REAL_SIZE_FIGURES,
    Accuracies,
)
from sparsity.plotting.style import looking_alike
from sparsity.report.networks import Repeats, Setting, TrainedNetwork, method_order, setting_labels
from sparsity.report.properties import Properties, of_whole_networks
from sparsity.report.significance import ranked
from sparsity.viewer.build import pictures
from sparsity.viewer.picture import Picture

Source = TypeVar("Source")

_MOST_LINES = 4000
"""Of a network that is drawn; more only make it darker."""

_MOST_MAPS = 12
"""More single networks than these are not looked at one by one; one of each method is drawn."""


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure of a report.

    Args:
        spec: Its section and its words.
        label: Of the networks that are seen.
        name: For a file.
        density: Of the networks; None where they have several.
        draw: Draws it; returns None if there is nothing to see.
    """

    spec: FigureSpec[Any]
    label: str
    name: str
    density: float | None
    draw: Callable[[], Figure | None]


def drawings(
    settings: Mapping[Setting, Repeats], comparisons: Mapping[Setting, Comparison], properties: Properties
) -> list[Drawing]:
    """All figures of a report, none drawn yet; a method looks the same in all of them.

    Args:
        settings: The networks.
        comparisons: Of the settings that have two networks or more.
        properties: Of the settings that have runs enough.
    """
    methods = method_order(settings)
    return [
        replace(drawing, draw=partial(_alike, methods, drawing.draw))
        for drawing in _all_drawings(settings, comparisons, properties)
    ]


def _alike(methods: Sequence[str], draw: Callable[[], Figure | None]) -> Figure | None:
    with looking_alike(methods):
        return draw()


def _all_drawings(
    settings: Mapping[Setting, Repeats], comparisons: Mapping[Setting, Comparison], properties: Properties
) -> Iterator[Drawing]:
    labels = setting_labels(settings)
    architectures = dict.fromkeys(setting.architecture for setting in settings)
    for architecture in architectures:
        in_name = architecture if len(architectures) > 1 else ""
        yield from _drawings(ACCURACY_FIGURES, _accuracies(architecture, settings), architecture, in_name)
        if (ranking := ranked(architecture, settings)) is not None:
            yield from _drawings(RANK_FIGURES, ranking, architecture, in_name)
        if any(setting.architecture == architecture and setting.density < 1 for setting in settings):
            for what, of_size in REAL_SIZE_FIGURES.items():
                yield from _drawings([of_size], _real_sizes(architecture, settings, what), architecture, in_name)
        for run in _sparsest(architecture, settings):
            for spec in NETWORK_FIGURES:
                name = _file_name(spec.name, f"{in_name} {run.name}")
                yield Drawing(spec, run.name, name, None, partial(_draw_network, spec, run))
    for setting, repeats in settings.items():
        label = labels[setting]
        curves = {method: [run.curves for run in runs] for method, runs in repeats.items()}
        yield from _drawings(
            PROPERTY_FIGURES, of_whole_networks(properties.get(setting, ())), label, label, setting.density
        )
        yield from _drawings(CURVE_FIGURES, curves, label, label, setting.density)
        if setting.density < 1:
            methods = {method: pooled([run.topology for run in runs]) for method, runs in repeats.items()}
            yield from _drawings(TOPOLOGY_FIGURES, methods, label, label, setting.density)
        yield from _drawings(SINGLE_NETWORK_FIGURES, _single_networks(repeats), label, label, setting.density)
    for setting, comparison in comparisons.items():
        yield from _drawings(comparison_figures(), comparison, labels[setting], labels[setting], setting.density)


def _drawings(
    specs: Iterable[FigureSpec[Source]], source: Source, label: str, in_name: str, density: float | None = None
) -> Iterator[Drawing]:
    for spec in specs:
        if spec.section is not None:
            yield Drawing(spec, label, _file_name(spec.name, in_name), density, partial(spec.draw, source))


def _accuracies(architecture: str, settings: Mapping[Setting, Repeats]) -> Accuracies:
    points = {
        method: [
            (run.topology.densities.density, run.accuracy)
            for setting, repeats in settings.items()
            for run in repeats.get(method, ())
            if setting.architecture == architecture and run.accuracy is not None
        ]
        for method in method_order(settings)
    }
    return {method: pairs for method, pairs in points.items() if pairs}


def _real_sizes(architecture: str, settings: Mapping[Setting, Repeats], what: str) -> Accuracies:
    points: dict[str, list[tuple[float, float]]] = {}
    for method in method_order(settings):
        for setting, repeats in settings.items():
            found = [
                (getattr(run.real_size.compact, what) / getattr(run.real_size.dense, what), run.accuracy)
                for run in repeats.get(method, ())
                if setting.architecture == architecture and run.accuracy is not None and run.real_size is not None
            ]
            if found:
                # Seeds differ in size too, and are one point together.
                share = fmean(size for size, _ in found)
                points.setdefault(method, []).extend((share, accuracy) for _, accuracy in found)
    return points


def _sparsest(architecture: str, settings: Mapping[Setting, Repeats]) -> list[TrainedNetwork]:
    """The first run of each method at the lowest density, of sparse networks alone."""
    found = [setting for setting in settings if setting.architecture == architecture and setting.density < 1]
    lowest = min(found, key=lambda setting: setting.density, default=None)
    return [] if lowest is None else [runs[0] for runs in settings[lowest].values()]


def _draw_network(spec: FigureSpec[Mapping[str, Picture]], run: TrainedNetwork) -> Figure | None:
    """A network whose graph is known."""
    try:
        return spec.draw(pictures({run.name: run.network}, run.input_shape, _MOST_LINES))
    except SparsityError:
        return None


def _single_networks(repeats: Repeats) -> Topologies:
    runs = [run for same in repeats.values() for run in same]
    if len(runs) > _MOST_MAPS:
        runs = [same[0] for same in repeats.values()]
    return {run.name: run.topology for run in runs}


def _file_name(*words: str) -> str:
    """Only characters that no file system minds: `gaps_10` for the gaps at 10 % density."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", " ".join(words).replace("% density", "")).strip("_")
