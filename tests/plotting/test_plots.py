import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from sparsity.analysis import common_kernels, densities
from sparsity.errors import SparsityError
from sparsity.plotting.plots import (
    accuracy_density_figure,
    density_figure,
    feature_map_figure,
    figure_bytes,
    first_layer_figure,
    kernel_sheet,
    layer_lines_figure,
    learning_curves_figure,
    matrix_figure,
    patch_sheet,
    save_figure,
    violin_figure,
)

pytestmark = pytest.mark.filterwarnings("error")

Layers = dict[str, np.ndarray]

RESNET110 = ["conv", *(f"layer{s}.{b}.conv{c}" for s in (1, 2, 3) for b in range(18) for c in (1, 2)), "fc"]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _no_global_state_changes() -> Iterator[None]:
    before = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == before


def drawn(figure: Figure) -> np.ndarray:
    """Draw as a dashboard does, outside the module's own style."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def lines_of(axes: Axes) -> list[str]:
    """The markers of the lines that connect points."""
    return [str(line.get_marker()) for line in axes.lines if line.get_linestyle() != "None"]


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def tick_labels(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_xticklabels()]


def overlaps(figure: Figure, axes: Axes) -> int:
    """How many neighbouring tick labels of the x axis run into each other."""
    drawn(figure)
    boxes = [text.get_window_extent() for text in axes.get_xticklabels() if text.get_rotation() != 45]
    return sum(left.x1 > right.x0 for left, right in pairwise(boxes))


def sparse(rng: np.random.Generator, density: float, *shape: int) -> np.ndarray:
    return rng.normal(size=shape) * (rng.random(shape) < density)


def a_network(rng: np.random.Generator, density: float = 0.3) -> Layers:
    return {f"fc{k}": sparse(rng, density, 20, 30) for k in range(4)}


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


def test_first_layers_share_one_scale_that_is_symmetric_around_zero(rng: np.random.Generator) -> None:
    maps = {f"net {k}": rng.normal(size=(1, 28, 28)) * (k + 1) for k in range(5)}
    figure = first_layer_figure(maps)
    images = [image for axes in figure.axes for image in axes.images]
    (low, high), limit = images[0].get_clim(), max(np.abs(array).max() for array in maps.values())
    assert (low, high) == (-limit, limit)
    assert {image.get_clim() for image in images} == {(low, high)}
    assert [axes.get_title() for axes in figure.axes if axes.images] == list(maps)


def test_colour_channels_stand_side_by_side(rng: np.random.Generator) -> None:
    figure = first_layer_figure({"a": rng.normal(size=(3, 3, 3)), "b": rng.normal(size=(28, 28))})
    titles = [axes.get_title() for axes in figure.axes if axes.images]
    assert titles == ["a, red", "a, green", "a, blue", "b"]


def test_signed_images_tell_the_sign_in_greyscale() -> None:
    figure = first_layer_figure({"ramp": np.linspace(-1, 1, 101)[None]})
    (image,) = (image for axes in figure.axes for image in axes.images)
    grey = image.cmap(np.linspace(0, 1, 101))[:, :3] @ [0.299, 0.587, 0.114]
    assert (np.diff(grey) > 0).all()


def test_kernels_are_a_sheet_per_network_with_shares_and_counts(rng: np.random.Generator) -> None:
    kernels = {name: common_kernels([sparse(rng, 0.2, 16, 16, 3, 3)]) for name in ("a", "b")}
    figure = kernel_sheet(kernels, top=5)
    for axes, (name, common) in zip(figure.axes, kernels.items(), strict=True):
        assert axes.get_title(loc="left") == f"{name} (256 kernels)"
        assert len(axes.collections) == 5
        assert axes.texts[0].get_text().endswith(f"%\n{common.counts[0]}")
    drawn(kernel_sheet(kernels, top=30))
    drawn(kernel_sheet({"wide": common_kernels([sparse(rng, 0.5, 4, 4, 2, 5)], (2, 5))}))


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


def test_feature_maps_share_a_scale_and_are_numbered(rng: np.random.Generator) -> None:
    maps = rng.random((7, 4, 5))
    axes, bar = feature_map_figure(maps, "conv").axes
    assert [text.get_text() for text in axes.texts] == [str(k) for k in range(7)]
    assert {image.get_clim() for image in axes.images} == {(maps.min(), maps.max())}
    assert bar.get_ylabel() == "response"


def test_patches_of_any_size_are_drawn_in_colour_or_grey(rng: np.random.Generator) -> None:
    patches = [rng.normal(size=(3, 5, 5)), rng.normal(size=(3, 2, 5)), rng.normal(size=(1, 3, 3))]
    (axes,) = patch_sheet(patches, "layer").axes
    assert [image.get_array().shape for image in axes.images] == [(5, 5, 3), (2, 5, 3), (3, 3)]
    colours = axes.images[0].get_array()
    assert 0 <= colours.min() <= colours.max() <= 1


EMPTY: dict[str, Callable[[], Figure]] = {
    "density": lambda: density_figure({}),
    "violin": lambda: violin_figure({}, "value"),
    "violin of networks without layers": lambda: violin_figure({"a": {}}, "value"),
    "lines": lambda: layer_lines_figure({}, "value"),
    "lines of nothing but nan": lambda: layer_lines_figure({"a": {"fc": float("nan")}}, "value"),
    "first layers": lambda: first_layer_figure({}),
    "a first layer of nan": lambda: first_layer_figure({"a": np.full((1, 2, 2), np.nan)}),
    "kernels": lambda: kernel_sheet({}),
    "learning curves": lambda: learning_curves_figure({}, "training loss"),
    "learning curves of nothing but nan": lambda: learning_curves_figure({"a": [{1: np.nan}]}, "training loss"),
    "accuracy": lambda: accuracy_density_figure({}),
    "accuracy of a method without runs": lambda: accuracy_density_figure({"a": []}),
    "maps": lambda: feature_map_figure(np.zeros((0, 3, 3))),
    "maps of nan": lambda: feature_map_figure(np.full((2, 3, 3), np.nan)),
    "patches": lambda: patch_sheet([]),
}


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_to_show_is_still_a_figure(name: str, tmp_path: Path) -> None:
    save_figure(EMPTY[name](), tmp_path / "figure")


def test_figures_are_saved_as_png_and_vector_pdf_with_fonts_and_without_a_date(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    save_figure(density_figure({"net": densities(a_network(rng))}), tmp_path / "new" / "distance.nnstd")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["distance.nnstd.pdf", "distance.nnstd.png"]
    png, pdf = ((tmp_path / "new" / f"distance.nnstd.{kind}").read_bytes() for kind in ("png", "pdf"))
    assert png.startswith(b"\x89PNG")
    assert pdf.startswith(b"%PDF")
    assert b"/FontFile2" in pdf
    assert b"/Subtype /Image" not in pdf
    assert b"CreationDate" not in pdf


SAMPLES: dict[str, Callable[[np.random.Generator], Figure]] = {
    "lines": lambda rng: layer_lines_figure({"a": dict(zip(RESNET110, rng.random(60), strict=False))}, "value"),
    "violins": lambda rng: violin_figure({k: {"fc": rng.random(9), "b": rng.random(9)} for k in "ab"}, "value"),
    "matrix": lambda rng: matrix_figure(rng.random((2, 2)), ["synflow", "runs/version_12/last.ckpt"], "NNSTD", "title"),
    "first layers": lambda rng: first_layer_figure({k: rng.normal(size=(3, 5, 5)) for k in "ab"}),
    "kernels": lambda rng: kernel_sheet({"a": common_kernels([sparse(rng, 0.2, 9, 9, 3, 3)])}),
    "learning curves": lambda rng: learning_curves_figure({k: [{1: rng.random()}] * 2 for k in "ab"}, "training loss"),
    "accuracy": lambda rng: accuracy_density_figure({k: [(0.1, rng.random()), (0.1, rng.random())] for k in "ab"}),
    "maps": lambda rng: feature_map_figure(rng.random((5, 4, 4)), "title"),
    "patches": lambda rng: patch_sheet([rng.random((3, 4, 4))]),
}


@pytest.mark.parametrize("dpi", [72, 150, 300])
@pytest.mark.parametrize("name", SAMPLES)
def test_nothing_is_cut_off(name: str, dpi: int) -> None:
    figure = SAMPLES[name](np.random.default_rng(0))
    figure.set_dpi(dpi)
    drawn(figure)
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= 0


@pytest.mark.parametrize("name", SAMPLES)
def test_the_same_figure_is_saved_with_the_same_bytes_each_time(name: str, tmp_path: Path) -> None:
    figure = SAMPLES[name](np.random.default_rng(0))
    save_figure(figure, tmp_path / "first")
    drawn(figure)
    save_figure(figure, tmp_path / "again")
    save_figure(SAMPLES[name](np.random.default_rng(0)), tmp_path / "anew")
    for kind in ("png", "pdf"):
        assert len({(tmp_path / f"{file}.{kind}").read_bytes() for file in ("first", "again", "anew")}) == 1
    assert figure_bytes(figure, "svg") == figure_bytes(SAMPLES[name](np.random.default_rng(0)), "svg")


def test_an_svg_needs_no_fonts_keeps_hatches_and_has_short_numbers(rng: np.random.Generator) -> None:
    svg = figure_bytes(violin_figure({k: {"fc": rng.random(9)} for k in "ab"}, "value"), "svg").decode()
    assert "<text" not in svg
    assert "<dc:date>" not in svg
    assert max(len(digits) for digits in re.findall(r"[1-9]\d*\.(\d+)", svg)) <= 2
    # The scale of a glyph is left as it is.
    assert "scale(0.015625)" in svg
    # A hatch lies on a lighter ground than its lines, or it would not be seen.
    (ground, lines) = re.search(r'<pattern.*?fill="(#\w+)".*?stroke: (#\w+)', svg, re.S).groups()  # type: ignore[union-attr]
    assert ground == "#f6dda6"  # 35 % of the colour on white
    assert lines == "#e69f00"


def test_a_figure_looks_the_same_whatever_the_callers_settings(rng: np.random.Generator) -> None:
    values: Mapping[str, Mapping[str, float]] = {"net": dict(zip(RESNET110, rng.random(30), strict=False))}
    plain = drawn(layer_lines_figure(values, "value"))
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "lines.linewidth": 9, "xtick.labelsize": 20}):
        figure = layer_lines_figure(values, "value")
    np.testing.assert_array_equal(drawn(figure), plain)


def test_a_figure_can_be_written_anywhere_without_pyplot() -> None:
    script = (
        "import sys, io; from sparsity.plotting.plots import layer_lines_figure; "
        "layer_lines_figure({'a': {'fc': 1.0}}, 'v').savefig(io.BytesIO()); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_importing_the_analysis_does_not_import_matplotlib() -> None:
    script = "import sys, sparsity.analysis; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("method", ["gem_miner", "synflow", "random"])
def test_published_networks_give_figures(method: str, published: Callable[..., Layers]) -> None:
    weights = published(f"ResNet20/{method}_10_21")
    file = BytesIO()
    density_figure({method: densities(weights)}).savefig(file)
    kernel_sheet({method: common_kernels(weights.values())}).savefig(file)
    first_layer_figure({method: weights[next(iter(weights))].sum(axis=0)}).savefig(file)


def test_long_row_names_of_a_matrix_are_not_cut_off(tmp_path: Path) -> None:
    names = [f"{method}_10_{seed}" for method in ("synflow", "random", "gem_miner") for seed in (21, 42, 63)]
    figure = matrix_figure(np.eye(9), names, "shared share of the masks (IoU)", value_range=(0.0, 1.0))
    save_figure(figure, tmp_path / "matrix")
    pixels = matplotlib.image.imread(tmp_path / "matrix.png")
    assert (pixels[:, :5] == 1).all()
    assert (pixels[:, -5:] == 1).all()
