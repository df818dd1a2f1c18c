"""The figures of many runs: accuracies, ranks, properties, curves; `report` reads this catalogue."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from sparsity.analysis.statistics.correlation import RankCorrelation
from sparsity.analysis.statistics.ranks import Ranking
from sparsity.plotting.catalogue import FigureSpec
from sparsity.plotting.correlations import rank_correlations_figure
from sparsity.plotting.curves import accuracy_density_figure, learning_curves_figure
from sparsity.plotting.networks import networks_figure
from sparsity.plotting.ranks import critical_difference_figure
from sparsity.viewer.picture import Picture

Accuracies = Mapping[str, Sequence[tuple[float, float]]]
"""By method, density and accuracy of each of its runs."""

Curves = Mapping[str, Sequence[Mapping[str, Mapping[int, float]]]]
"""By method, of each of its runs the values by epoch, by tag."""


ACCURACY_FIGURES: list[FigureSpec[Accuracies]] = [
    FigureSpec(
        name="accuracy",
        section="accuracy",
        title="Test top-1",
        caption="Mean over seeds, with bars of one standard deviation where there are two seeds or more, against the "
        "density that was reached, on a logarithmic axis.",
        draw=lambda points: accuracy_density_figure(points) if points else None,
    ),
]
"""How well methods do at several densities."""

RANK_FIGURES: list[FigureSpec[Ranking]] = [
    FigureSpec(
        name="critical_difference",
        section="significance",
        title="Methods by rank",
        caption="Mean ranks over all densities and seeds that all methods have, the highest on the left. Bars join "
        "methods of which no two can be told apart: their ranks are closer than the critical difference (Nemenyi's "
        "test after Friedman's, at 5 %; Demsar 2006). Seeds of one density are taken as if they were data sets of "
        "their own.",
        draw=critical_difference_figure,
    ),
]
"""Which methods rank how."""

PROPERTY_FIGURES: list[FigureSpec[Sequence[RankCorrelation]]] = [
    FigureSpec(
        name="properties",
        section="properties",
        title="Rank correlation with test top-1",
        caption="Of measures of the whole network over all runs of the density; bars are 95 % intervals. At 1 the "
        "measure ranks networks as their accuracy does, at -1 in reverse.",
        draw=lambda found: rank_correlations_figure(found) if found else None,
    ),
]
"""What goes along with accuracy."""


def _against(name: str, title: str, label: str, words: str) -> FigureSpec[Accuracies]:
    return FigureSpec(
        name=name,
        section="real-size",
        title=title,
        caption=f"{words} Mean over seeds, with bars of one standard deviation where there are two seeds or more.",
        draw=lambda points: accuracy_density_figure(points, label) if points else None,
    )


REAL_SIZE_FIGURES: dict[str, FigureSpec[Accuracies]] = {
    "parameters": _against(
        "accuracy_parameters",
        "Test top-1 against parameters",
        "parameters of the compact network (of the dense one's)",
        "Compact networks compute the same without the units that no output depends on; zeros that are left count.",
    ),
    "multiply_adds": _against(
        "accuracy_multiply_adds",
        "Test top-1 against multiply-adds",
        "multiply-adds of the compact network (of the dense one's)",
        "What a processor does for one sample that knows nothing of zeros.",
    ),
    "seconds": _against(
        "accuracy_time",
        "Test top-1 against time",
        "time of the compact network (of the dense one's)",
        "Batches of 64 on one thread of the processor that made this page, dense and compact in turns; other work "
        "that it did shows.",
    ),
}
"""How well methods do at several real sizes, by what is counted: a field of `sparsity.compaction.sizes.Cost`."""


NETWORK_FIGURES: list[FigureSpec[Mapping[str, Picture]]] = [
    FigureSpec(
        name="network",
        section="networks",
        title="The sparsest networks",
        caption="Units as dots, layer by layer, and kept weights as lines; the first run of each method at the lowest "
        "density. The command show makes a page of any network, on which units answer.",
        draw=lambda shown: networks_figure(shown) if shown else None,
    ),
]
"""What single networks are like."""


def _curve(tag: str, name: str, words: str) -> FigureSpec[Curves]:
    def draw(curves: Curves) -> Figure | None:
        runs = {method: [run[tag] for run in same if tag in run] for method, same in curves.items()}
        runs = {method: found for method, found in runs.items() if found}
        return learning_curves_figure(runs, words) if runs else None

    caption = "Each method's mean over seeds; thin lines are the single runs."
    return FigureSpec(name=name, section="training", title=words.capitalize(), caption=caption, draw=draw)


CURVE_FIGURES: list[FigureSpec[Curves]] = [
    _curve("val/accuracy", "validation_accuracy", "validation accuracy"),
    _curve("train/loss", "training_loss", "training loss"),
    _curve("dynamics/explored", "explored", "weights that any mask so far has kept"),
    _curve("dynamics/iou_with_last", "mask_overlap", "overlap of a moving mask with the one before (IoU)"),
]
"""How training went."""
