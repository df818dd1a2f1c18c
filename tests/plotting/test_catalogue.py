"""A figure is one record: one that is added is drawn by the callbacks, by `analyze` and by `report`."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sparsity.analysis.comparison.networks import compare
from sparsity.callbacks import Random, TopologyAnalysis
from sparsity.networks import FC
from sparsity.plotting.catalogue import (
    EXEMPLAR_FIGURES,
    IMAGE_FIGURES,
    SECTIONS,
    SINGLE_NETWORK_FIGURES,
    TOPOLOGY_FIGURES,
    FigureSpec,
    Topologies,
    comparison_figures,
    drawn,
)
from sparsity.plotting.catalogue_of_studies import (
    ACCURACY_FIGURES,
    CURVE_FIGURES,
    NETWORK_FIGURES,
    PROPERTY_FIGURES,
    RANK_FIGURES,
    REAL_SIZE_FIGURES,
)
from sparsity.plotting.lines import layer_lines_figure
from tests.callbacks.test_analysis import fit, small
from tests.saved_runs import save_network

ALL: list[FigureSpec[Any]] = [
    *TOPOLOGY_FIGURES, *SINGLE_NETWORK_FIGURES, *comparison_figures(), *IMAGE_FIGURES, *ACCURACY_FIGURES,
    *REAL_SIZE_FIGURES.values(), *CURVE_FIGURES, *NETWORK_FIGURES, *RANK_FIGURES, *PROPERTY_FIGURES,
    *EXEMPLAR_FIGURES
]  # fmt: skip


def dead_units(topologies: Topologies) -> Figure:
    return layer_lines_figure(
        {
            name: {layer: float(c.dead) for layer, c in found.connectivity.layers.items()}
            for name, found in topologies.items()
        },
        "dead units",
    )


DEAD_UNITS = FigureSpec(
    name="dead_units",
    section="density",
    title="Dead units per layer",
    caption="Units that are on no path from input to output.",
    draw=dead_units,
)


@pytest.fixture
def added() -> Iterator[FigureSpec[Topologies]]:
    TOPOLOGY_FIGURES.append(DEAD_UNITS)
    yield DEAD_UNITS
    TOPOLOGY_FIGURES.remove(DEAD_UNITS)


@pytest.fixture
def networks(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{method}_30_1.ckpt" for method in ("random", "synflow")]
    for seed, path in enumerate(paths):
        save_network(path, seed)
    return paths


def test_a_figure_that_is_added_is_on_the_dashboard_and_in_the_runs_folder(
    added: FigureSpec[Topologies], tmp_path: Path
) -> None:
    run = fit(tmp_path, small(), Random(0.3), TopologyAnalysis())
    assert f"topology/{added.name}" in EventAccumulator(str(run)).Reload().Tags()["images"]
    assert (run / "analysis" / "topology_final" / f"{added.name}.pdf").is_file()


def test_a_figure_that_is_added_is_drawn_by_analyze(
    added: FigureSpec[Topologies], networks: list[Path], sparsity: Any, tmp_path: Path
) -> None:
    outcome = sparsity("analyze", *networks, "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "out" / f"{added.name}.png").is_file()


def test_a_figure_that_is_added_is_in_the_report_under_its_heading(
    added: FigureSpec[Topologies], networks: list[Path], sparsity: Any, tmp_path: Path
) -> None:
    outcome = sparsity("report", *networks, "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    page = (tmp_path / "out" / "index.html").read_text()
    assert added.title in page
    headings = [SECTIONS["density"], added.caption, SECTIONS["clusters"]]
    places = [page.rindex(words) for words in headings]
    assert places == sorted(places)
    assert len(list((tmp_path / "out").glob(f"{added.name}_*.pdf"))) == 1


def test_every_figure_has_a_name_of_its_own_and_all_its_words() -> None:
    assert len({spec.name for spec in ALL}) == len(ALL)
    assert all(spec.title and spec.caption.endswith(".") for spec in ALL)
    assert {spec.section for spec in ALL if spec.section is not None} == set(SECTIONS)


def test_a_figure_in_no_section_of_a_report_is_refused() -> None:
    with pytest.raises(ValueError, match="figure 'x' is in no section of a report; there are accuracy, real-size"):
        FigureSpec(name="x", section="elsewhere", title="X", caption="X.", draw=dead_units)


@pytest.mark.parametrize(("networks", "expected"), [(2, 4), (4, 8), (5, 8)])
def test_measures_are_drawn_over_networks_and_layer_by_layer(networks: int, expected: int) -> None:
    torch.manual_seed(0)
    found = compare({f"net {k}": FC((6,), 3, depth=3, width=4) for k in range(networks)})
    figures = {spec.name: figure for spec, figure in drawn(comparison_figures(), found)}
    assert len(figures) == expected
    # Six pairs are told apart as lines, ten are not.
    by_layer = figures["nnstd_layers"]
    if networks < 5:
        assert len(by_layer.legends[0].get_texts()) == networks * (networks - 1) // 2
    else:
        assert [axes.get_title() for axes in by_layer.axes if axes.images] == ["fc1", "fc2", "fc3"]


def test_what_is_drawn_knows_nothing_of_reports_and_what_is_analysed_nothing_of_drawing() -> None:
    script = (
        "import pkgutil, sys, importlib, sparsity.{0} as p\n"
        "for m in pkgutil.walk_packages(p.__path__, p.__name__ + '.'): importlib.import_module(m.name)\n"
        "assert not [m for m in sys.modules if m.startswith('{1}')]"
    )
    for package, unknown in (("plotting", "sparsity.report"), ("analysis", "matplotlib")):
        subprocess.run([sys.executable, "-c", script.format(package, unknown)], check=True)
