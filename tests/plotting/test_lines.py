import numpy as np
import pytest
from matplotlib.colors import to_hex

from sparsity.analysis import densities
from sparsity.plotting.lines import density_figure, layer_lines_figure
from tests.plotting.drawing import RESNET110, a_network, drawn, legend_of, lines_of, overlaps, sparse, tick_labels

pytestmark = pytest.mark.filterwarnings("error")


def test_densities_are_one_line_per_network_with_the_overall_density_in_the_legend(rng: np.random.Generator) -> None:
    figure = density_figure({name: densities(a_network(rng)) for name in ("SynFlow", "random")})
    (axes,) = figure.axes
    assert len(lines_of(axes)) == 2
    assert tick_labels(axes) == ["fc0", "fc1", "fc2", "fc3"]
    assert axes.get_yscale() == "linear"
    assert [label.split(" (")[0] for label in legend_of(figure)] == ["SynFlow", "random"]
    assert all(label.endswith(" %)") for label in legend_of(figure))


def test_densities_far_apart_get_a_logarithmic_axis_in_percent_and_collapsed_layers_a_mark(
    rng: np.random.Generator,
) -> None:
    weights = {"fc1": sparse(rng, 0.01, 100, 100), "fc2": np.zeros((10, 100)), "fc3": np.ones((10, 10))}
    figure = density_figure({"net": densities(weights)})
    (axes,) = figure.axes
    drawn(figure)
    low, high = axes.get_ylim()
    shown = [t.get_text() for t, v in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True) if low <= v <= high]
    assert axes.get_yscale() == "log"
    assert {"1 %", "10 %", "100 %"} <= set(shown)
    assert [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "x"] == [1]
    assert legend_of(figure)[-1] == "empty"


def test_layers_that_only_some_networks_have_keep_their_place() -> None:
    with_shortcut = {"conv1": 1.0, "conv2": 2.0, "shortcut": 3.0, "fc": 4.0}
    plain = {"conv1": 1.0, "conv2": 2.0, "fc": 4.0}
    (axes,) = layer_lines_figure({"plain": plain, "shortcut": with_shortcut}, "value").axes
    assert tick_labels(axes) == ["conv1", "conv2", "shortcut", "fc"]
    assert [np.asarray(line.get_xdata()).tolist() for line in axes.lines] == [[0, 1, 3], [0, 1, 2, 3]]


def test_networks_without_a_common_layer_stand_one_after_the_other() -> None:
    (axes,) = layer_lines_figure({"a": {"fc1": 1.0, "fc2": 2.0}, "b": {"conv": 1.0}}, "value").axes
    assert tick_labels(axes) == ["fc1", "fc2", "conv"]


@pytest.mark.parametrize("layers", [1, 6, 22, 60, 110])
@pytest.mark.parametrize("networks", [1, 12])
def test_tick_labels_never_overlap(layers: int, networks: int, rng: np.random.Generator) -> None:
    values = {f"network {k}": dict(zip(RESNET110, rng.random(layers), strict=False)) for k in range(networks)}
    figure = layer_lines_figure(values, "value")
    (axes,) = figure.axes
    assert overlaps(figure, axes) == 0
    assert {*axes.get_xticks(), *axes.get_xticks(minor=True)} == set(range(layers))


def test_up_to_twelve_networks_differ_in_colour_and_line_together_and_in_marker_alone() -> None:
    figure = layer_lines_figure({str(k): {"fc": float(k)} for k in range(12)}, "value")
    lines = figure.axes[0].lines
    assert len({(to_hex(line.get_color()), line.get_linestyle()) for line in lines}) == 12
    assert len({line.get_marker() for line in lines}) == 12


def test_the_legend_stays_beside_the_data_and_inside_the_figure_whatever_the_names() -> None:
    names = [f"lightning_logs/version_{k}/checkpoints/a-very-long-name-of-a-checkpoint-{k}" for k in range(12)]
    figure = layer_lines_figure({name: {"fc": 1.0} for name in names}, "value")
    drawn(figure)
    (legend,), (axes,) = figure.legends, figure.axes
    box = legend.get_window_extent()
    assert box.y0 >= axes.get_window_extent().y1
    assert figure.bbox.x0 <= box.x0
    assert box.x1 <= figure.bbox.x1
    assert len(set(legend_of(figure))) == 12


def test_names_are_shown_as_they_are_even_if_they_look_like_formulas_or_are_hidden_by_matplotlib() -> None:
    figure = layer_lines_figure({"$x_1$": {"$a$": 1.0}, "_hidden": {"$a$": 2.0}}, "in $ and $")
    drawn(figure)
    assert [text.strip() for text in legend_of(figure)] == [r"\$x_1\$", "_hidden"]
