import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from sparsity.analysis import common_kernels, densities
from sparsity.plotting.curves import accuracy_density_figure, learning_curves_figure
from sparsity.plotting.files import figure_bytes, save_figure, small_png
from sparsity.plotting.lines import density_figure, layer_lines_figure
from sparsity.plotting.matrices import matrix_figure, matrix_panels
from sparsity.plotting.sheets import feature_map_figure, first_layer_figure, kernel_sheet, patch_sheet
from sparsity.plotting.violins import violin_figure
from tests.plotting.drawing import RESNET110, Layers, a_network, drawn, sparse

pytestmark = pytest.mark.filterwarnings("error")


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
    "learning curves that diverged": lambda: learning_curves_figure({"a": [{1: np.inf}, {1: np.nan}]}, "training loss"),
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
    "panels": lambda rng: matrix_panels(
        {layer: rng.random((9, 9)) for layer in RESNET110[:7]},
        [f"runs/version_{k}/last.ckpt" for k in range(9)],
        "NNSTD",
    ),
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


def test_an_svg_has_its_text_as_text_keeps_hatches_and_has_short_numbers(rng: np.random.Generator) -> None:
    svg = figure_bytes(violin_figure({k: {"fc": rng.random(9)} for k in "ab"}, "value"), "svg").decode()
    assert re.findall(r"<text[^>]*>(layer|value)<", svg) == ["layer", "value"]
    assert "<dc:date>" not in svg
    assert max(len(digits) for digits in re.findall(r"[1-9]\d*\.(\d+)", svg)) <= 2
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
        "import sys, io; from sparsity.plotting.lines import layer_lines_figure; "
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


def test_a_small_png_is_the_same_picture_in_fewer_colours() -> None:
    figure = Figure()
    figure.subplots().plot(np.random.default_rng(0).random((50, 20)))
    whole, small = figure_bytes(figure, "png"), small_png(figure)
    assert len(small) < len(whole) / 2
    one, other = (np.asarray(Image.open(BytesIO(image)).convert("RGB"), float) for image in (whole, small))
    assert one.shape == other.shape
    assert np.abs(one - other).mean() < 2
