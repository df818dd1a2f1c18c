from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sparsity.analysis.comparison.networks import compare
from sparsity.interop import save_checkpoint
from sparsity.masks import add_masks, masks, set_mask
from sparsity.networks import ResNet
from sparsity.plotting.catalogue import FigureSpec
from sparsity.report.figures import drawings
from sparsity.report.networks import by_setting, compared, read_runs
from sparsity.report.sources import find_sources

SaveRun = Callable[..., Path]


class Drawn(NamedTuple):
    spec: FigureSpec[Any]
    label: str
    name: str
    figure: Figure


def drawn(folder: Path, images: torch.Tensor | None = None) -> list[Drawn]:
    paths = [str(path) for path in folder.iterdir()]
    settings = by_setting(read_runs(find_sources(sorted(paths), "best").finished))
    networks = {key: {run.name: run.network for run in compared(repeats)} for key, repeats in settings.items()}
    comparisons = {key: compare(found, images) for key, found in networks.items() if len(found) > 1}
    found = [(drawing, drawing.draw()) for drawing in drawings(settings, comparisons, {})]
    return [Drawn(one.spec, one.label, one.name, figure) for one, figure in found if figure is not None]


@pytest.fixture
def resnets(tmp_path: Path) -> Path:
    """Two networks of one method and one of another."""
    folder = tmp_path / "resnets"
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    for name in ("synflow_30_1", "synflow_30_2", "random_30_1"):
        network = ResNet(depth=8, width=2)
        add_masks(network)
        chosen = {key: torch.rand(mask.shape, generator=generator) < 0.3 for key, mask in masks(network).items()}
        set_mask(network, chosen)
        save_checkpoint(network, folder / f"{name}.ckpt")
    return folder


def test_convolutions_have_kernels_and_every_figure_has_its_words_and_its_file(resnets: Path) -> None:
    found = drawn(resnets, torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    sections = [drawing.spec.section for drawing in found]
    assert list(dict.fromkeys(sections)) == [
        "networks", "density", "clusters", "kernels", "first-layers", "distances", "correlations",
        "representations",
    ]  # fmt: skip
    assert sections.count("distances") == 4
    assert sections.count("correlations") == 2
    assert sections.count("representations") == 4
    assert len({drawing.name for drawing in found}) == len(found)
    assert all(drawing.spec.title and drawing.spec.caption.endswith(".") for drawing in found)


def test_a_methods_runs_are_drawn_together_and_first_layers_one_by_one(resnets: Path) -> None:
    found = {drawing.name.rsplit("_", 1)[0]: drawing.figure for drawing in drawn(resnets)}
    (legend,) = found["density"].legends
    assert [text.get_text().split()[0] for text in legend.get_texts()] == ["random", "synflow"]
    titles = [axes.get_title() for axes in found["first_layer"].axes]
    assert sum(title.endswith("red") for title in titles) == 3


def test_accuracy_is_drawn_over_all_densities_and_curves_for_each(save_run: SaveRun, tmp_path: Path) -> None:
    for number, asked in enumerate((0.3, 0.1)):
        save_run(f"version_{number}", asked=asked, seed=number, curve={0: 0.5})
    names = [drawing.name for drawing in drawn(tmp_path / "runs" / "lightning_logs")]
    assert names[:4] == ["accuracy", "accuracy_parameters", "accuracy_multiply_adds", "accuracy_time"]
    assert names[4] == "network_Random_1"
    assert names[5] == "validation_accuracy_30"
    assert "validation_accuracy_10" in names


def test_of_dense_networks_only_what_they_look_at_is_drawn(save_run: SaveRun, tmp_path: Path) -> None:
    save_run("version_0", "dense", 1.0)
    names = [drawing.name for drawing in drawn(tmp_path / "runs" / "lightning_logs")]
    assert names == ["accuracy", "first_layer_100"]


def test_seeds_that_differ_in_size_are_one_point_of_a_line(save_run: SaveRun, tmp_path: Path) -> None:
    for number, asked in enumerate((0.3, 0.3, 0.05, 0.05)):
        save_run(f"version_{number}", asked=asked, seed=number)
    folder = tmp_path / "runs" / "lightning_logs"
    (found,) = by_setting(
        read_runs(find_sources([str(folder / "version_2"), str(folder / "version_3")], "best").finished)
    ).values()
    sizes = {run.real_size.compact.parameters for runs in found.values() for run in runs if run.real_size}
    assert len(sizes) == 2
    (figure,) = [drawing.figure for drawing in drawn(folder) if drawing.name == "accuracy_parameters"]
    lines = [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) > 1]
    assert [len(line.get_xdata()) for line in lines][:1] == [2]


def test_the_first_run_of_each_method_is_seen_as_a_network_where_it_is_sparsest(
    save_run: SaveRun, tmp_path: Path
) -> None:
    for number, (method, asked) in enumerate([("SynFlow", 0.3), ("SynFlow", 0.1), ("SynFlow", 0.1), ("Random", 0.1)]):
        save_run(f"version_{number}", method, asked=asked, seed=number)
    found = [d for d in drawn(tmp_path / "runs" / "lightning_logs") if d.spec.section == "networks"]
    assert sorted(drawing.label for drawing in found) == ["Random 3", "SynFlow 1"]


def test_a_method_looks_the_same_where_another_is_missing(save_run: SaveRun, tmp_path: Path) -> None:
    runs = [("A", 0.3), ("A", 0.2), ("B", 0.2), ("B", 0.1), ("C", 0.1), ("C", 0.3)]
    for number, (method, asked) in enumerate(runs):
        save_run(f"version_{number}", method, asked=asked, curve={0: 0.5})
    seen: dict[str, set[str]] = {}
    for drawing in drawn(tmp_path / "runs" / "lightning_logs"):
        if drawing.spec.name in ("density", "validation_accuracy", "accuracy"):
            (legend,) = drawing.figure.legends
            for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True):
                assert isinstance(handle, Line2D)
                seen.setdefault(text.get_text().split()[0], set()).add(str(handle.get_color()))
    assert [len(colours) for colours in seen.values()] == [1, 1, 1]
    assert len(set.union(*seen.values())) == 3
