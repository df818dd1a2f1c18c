import numpy as np
import pytest

from sparsity.plotting.violins import violin_figure
from tests.plotting.drawing import RESNET110, drawn, legend_of, tick_labels

pytestmark = pytest.mark.filterwarnings("error")


def test_a_violin_per_layer_and_network_copes_with_any_sample(rng: np.random.Generator) -> None:
    samples = {
        "a": {"empty": np.zeros(0), "constant": np.full(5, 3), "nan": np.full(3, np.nan), "one": np.ones(1)},
        "b": {"constant": rng.normal(size=50), "nan": np.array([1.0, 2.0, np.nan, np.inf]), "one": np.array([1, 2])},
    }
    figure = violin_figure(samples, "clusters per unit")
    (axes,) = figure.axes
    drawn(figure)
    assert tick_labels(axes) == ["empty", "constant", "nan", "one"]
    assert sum(line.get_marker() == "x" for line in axes.lines) == 2
    assert sum(line.get_marker() == "o" for line in axes.lines) == 3
    assert legend_of(figure) == ["a", "b", "empty"]


def test_nearly_constant_samples_and_huge_values_are_drawn() -> None:
    samples = {"a": {"near": np.array([1, 1, 1 + 1e-7]), "tiny": np.array([0, 1e-300]), "huge": np.array([1e12, 2e12])}}
    drawn(violin_figure(samples, "value"))


def test_many_violins_take_several_rows_and_all_layers_are_named(rng: np.random.Generator) -> None:
    samples = {f"net {k}": {layer: rng.random(5) for layer in RESNET110[:30]} for k in range(6)}
    figure = violin_figure(samples, "clusters per unit")
    assert len(figure.axes) > 1
    assert [label for axes in figure.axes for label in tick_labels(axes)] == RESNET110[:30]
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert len(legend_of(figure)) == 6
