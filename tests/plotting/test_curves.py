import numpy as np
import pytest

from sparsity.plotting.curves import accuracy_density_figure, learning_curves_figure
from tests.plotting.drawing import drawn, tick_labels

pytestmark = pytest.mark.filterwarnings("error")


def test_learning_curves_show_every_run_and_the_mean_over_the_epochs_that_all_have() -> None:
    curves = {"SynFlow": [{1: 0.2, 2: 0.4, 3: 0.9}, {1: 0.4, 2: 0.6}], "random": [{1: 0.1}], "none": []}
    figure = learning_curves_figure(curves, "validation accuracy")
    (axes,) = figure.axes
    drawn(figure)
    mean, *runs = axes.lines[:3]
    assert mean.get_xydata().tolist() == [pytest.approx([1, 0.3]), pytest.approx([2, 0.5])]
    assert [list(run.get_ydata()) for run in runs] == [[0.2, 0.4, 0.9], [0.4, 0.6]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "validation accuracy")
    assert all(float(tick).is_integer() for tick in axes.get_xticks())
    assert len(axes.lines) == 5  # one run is its own mean, and none has an empty one
    assert all(text.get_text().endswith(" %") for text in axes.get_yticklabels())


@pytest.mark.parametrize(("losses", "scale"), [([2.0, 0.1], "log"), ([2.0, 1.0], "linear"), ([2.0, -0.1], "linear")])
def test_losses_far_apart_get_a_logarithmic_axis(losses: list[float], scale: str) -> None:
    figure = learning_curves_figure({"a": [dict(enumerate([*losses, np.nan], start=1))]}, "training loss")
    drawn(figure)
    assert figure.axes[0].get_yscale() == scale
    assert not any("$" in text.get_text() for text in figure.axes[0].get_yticklabels() if scale == "log")


def test_accuracy_against_density_shows_mean_and_standard_deviation_over_equal_densities() -> None:
    points = {"SynFlow": [(0.1, 0.8), (0.02, 0.5), (0.1, 0.9), (0.1001, 0.85)], "random": [(0.0, 0.1), (0.1, np.nan)]}
    figure = accuracy_density_figure(points)
    (axes,) = figure.axes
    line, _, (bars,) = axes.containers[0]
    assert line.get_ydata() == pytest.approx([0.5, 0.85])
    assert bars.get_segments()[-1][:, 1] == pytest.approx([0.80, 0.90])
    assert axes.get_xscale() == "log"
    drawn(figure)
    assert {"2 %", "5 %", "10 %"} <= set(tick_labels(axes))


@pytest.mark.parametrize("density", [0.001, 0.0073, 0.1, 1.0])
def test_a_single_density_has_a_labelled_tick_near_it(density: float) -> None:
    figure = accuracy_density_figure({"a": [(density, 0.5)]})
    (axes,) = figure.axes
    drawn(figure)
    low, high = axes.get_xlim()
    assert any(low <= tick <= high for tick in axes.get_xticks())
