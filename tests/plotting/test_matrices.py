from pathlib import Path

import matplotlib
import matplotlib.image
import numpy as np
import pytest

from sparsity.errors import SparsityError
from sparsity.plotting.files import save_figure
from sparsity.plotting.matrices import matrix_figure, matrix_panels
from tests.plotting.drawing import RESNET110, drawn, overlaps

pytestmark = pytest.mark.filterwarnings("error")


def test_a_matrix_has_numbers_a_colour_bar_and_marked_nans() -> None:
    matrix = np.array([[0.0, 0.25], [np.nan, 1.0]])
    figure = matrix_figure(matrix, ["a", "b"], "NNSTD", "layer fc1")
    axes, bar = figure.axes
    assert sorted(text.get_text() for text in axes.texts) == ["0.00", "0.25", "1.00"]
    assert [(patch.get_xy(), bool(patch.get_hatch())) for patch in axes.patches] == [((-0.5, 0.5), True)]
    assert bar.get_ylabel() == "NNSTD"
    assert axes.get_title() == "layer fc1"


def test_numbers_are_dark_on_light_cells_and_light_on_dark_ones() -> None:
    axes = matrix_figure(np.array([[0.0, 1.0], [0.45, 0.55]]), ["a", "b"], "d").axes[0]
    (image,) = axes.images
    for text in axes.texts:
        column, row = (int(place) for place in text.get_position())
        red, green, blue, _ = image.cmap(image.norm(image.get_array()[row, column]))
        light = np.array([red, green, blue]) ** 2.2 @ [0.2126, 0.7152, 0.0722]
        ink = {"black": 0.0, "white": 1.0}[str(text.get_color())]
        assert (max(light, ink) + 0.05) / (min(light, ink) + 0.05) >= 4.5


def test_a_matrix_keeps_to_the_given_range_and_leaves_numbers_out_of_small_cells(rng: np.random.Generator) -> None:
    figure = matrix_figure(rng.random((60, 60)), [f"unit {k}" for k in range(60)], "correlation", value_range=(-1, 1))
    axes = figure.axes[0]
    assert not axes.texts
    assert axes.images[0].get_clim() == (-1, 1)
    assert overlaps(figure, axes) == 0


def test_a_matrix_that_its_names_do_not_fit_is_refused() -> None:
    with pytest.raises(SparsityError, match=r"one name per row and column, not 2 for \[3, 3\]"):
        matrix_figure(np.zeros((3, 3)), ["a", "b"], "distance")
    with pytest.raises(SparsityError, match="not 0 for"):
        matrix_figure(np.zeros((0, 0)), [], "distance")


@pytest.mark.parametrize("matrix", [np.zeros((1, 1)), np.full((2, 2), np.nan), np.ones((3, 3))])
def test_degenerate_matrices_are_drawn(matrix: np.ndarray) -> None:
    drawn(matrix_figure(matrix, [str(k) for k in range(len(matrix))], "distance"))


def test_long_row_names_of_a_matrix_are_not_cut_off(tmp_path: Path) -> None:
    names = [f"{method}_10_{seed}" for method in ("synflow", "random", "gem_miner") for seed in (21, 42, 63)]
    figure = matrix_figure(np.eye(9), names, "shared share of the masks (IoU)", value_range=(0.0, 1.0))
    save_figure(figure, tmp_path / "matrix")
    pixels = matplotlib.image.imread(tmp_path / "matrix.png")
    assert (pixels[:, :5] == 1).all()
    assert (pixels[:, -5:] == 1).all()


@pytest.mark.parametrize("layers", [1, 2, 6, 7, 22])
def test_a_matrix_of_every_layer_is_a_panel_named_at_the_edges(layers: int, rng: np.random.Generator) -> None:
    names = [f"network {k}" for k in range(5)]
    matrices = {layer: rng.random((5, 5)) for layer in RESNET110[:layers]}
    figure = matrix_panels(matrices, names, "NNSTD", (0.0, 1.0))
    drawn(figure)
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in panels] == list(matrices)
    assert {axes.images[0].get_clim() for axes in panels} == {(0.0, 1.0)}
    for axes, matrix in zip(panels, matrices.values(), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), matrix)
    lefts, bottoms = ({round(getattr(axes.get_position(), side), 3) for axes in panels} for side in ("x0", "y0"))
    named_left = [axes for axes in panels if any(text.get_text() for text in axes.get_yticklabels())]
    named_below = [axes for axes in panels if any(text.get_text() for text in axes.get_xticklabels())]
    assert len(named_left) == len(bottoms)
    assert len(named_below) == len(lefts)
    assert sum(overlaps(figure, axes) for axes in named_below) == 0


@pytest.mark.parametrize("names", [5, 9, 30])
def test_names_hang_into_no_other_panel(names: int, rng: np.random.Generator) -> None:
    matrices = {layer: rng.random((names, names)) for layer in RESNET110[:7]}
    figure = matrix_panels(matrices, [f"version_{k}/checkpoints/best" for k in range(names)], "NNSTD")
    drawn(figure)
    labels = [text for axes in figure.axes for text in (*axes.get_xticklabels(), *axes.get_yticklabels(), axes.title)]
    boxes = [text.get_window_extent() for text in labels if text.get_text()]
    assert not [box for box in boxes for axes in figure.axes if box.overlaps(axes.get_window_extent())]


def test_panels_have_one_scale_over_all_layers_and_mark_nans(rng: np.random.Generator) -> None:
    first, second = rng.random((2, 2)), 3 * rng.random((2, 2))
    first[0, 0] = np.nan
    figure = matrix_panels({"fc1": first, "fc2": second}, ["a", "b"], "correlation")
    values = np.concatenate([first.ravel()[1:], second.ravel()])
    assert {axes.images[0].get_clim() for axes in figure.axes if axes.images} == {(values.min(), values.max())}
    assert [bool(patch.get_hatch()) for patch in figure.axes[0].patches] == [True]


def test_panels_that_their_names_do_not_fit_are_refused() -> None:
    with pytest.raises(SparsityError, match=r"one name per row and column, not 2 for \[3, 3\]"):
        matrix_panels({"fc1": np.zeros((2, 2)), "fc2": np.zeros((3, 3))}, ["a", "b"], "distance")
