import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from sparsity.analysis import densities, layer_weights, mask_overlap, network_distance
from sparsity.callbacks import GemMiner, NetworkComparison, Random, TopologyAnalysis
from sparsity.classifier import SparseClassifier
from sparsity.datamodules import Digits
from sparsity.errors import SparsityError
from sparsity.interop import save_checkpoint
from sparsity.masks import add_masks
from sparsity.networks import FC


def fit(folder: Path, module: pl.LightningModule, *callbacks: pl.Callback, **arguments: Any) -> Path:
    """Fit on a few digits and return the run's folder."""
    defaults: dict[str, Any] = {"max_epochs": 2, "accelerator": "cpu", "enable_progress_bar": False,
                                "enable_model_summary": False, "enable_checkpointing": False}  # fmt: skip
    logger = TensorBoardLogger(folder)
    trainer = pl.Trainer(callbacks=list(callbacks), logger=logger, **{**defaults, **arguments})
    trainer.fit(module, Digits(limit=64, batch_size=32))
    return Path(logger.log_dir)


def small() -> SparseClassifier:
    return SparseClassifier(FC(depth=3, width=12))


def tags(folder: Path) -> dict[str, list[str]]:
    found = EventAccumulator(str(folder)).Reload().Tags()
    return {kind: found[kind] for kind in ("scalars", "images", "histograms", "tensors")}


def test_the_topology_is_logged_and_written_after_pruning_and_at_the_end(tmp_path: Path) -> None:
    module = small()
    run = fit(tmp_path, module, Random(0.3), TopologyAnalysis())
    assert {p.name for p in (run / "analysis").iterdir()} == {"topology_pruned", "topology_final"}
    final = run / "analysis" / "topology_final"
    assert {"summary.json", "layers.csv", "units.csv", "density.png", "density.pdf"} <= {
        p.name for p in final.iterdir()
    }
    expected = densities(module.network)
    rows = list(csv.DictReader((final / "layers.csv").read_text().splitlines()))
    assert [int(row["kept"]) for row in rows] == [layer.kept for layer in expected.layers.values()]
    assert json.loads((final / "summary.json").read_text())["kept"] == expected.kept
    found = tags(run)
    assert {"topology/effective_density", "topology/dead", "topology/gap/fc1", "topology/runs/fc3"} <= set(
        found["scalars"]
    )
    assert "topology/density" in found["images"]
    assert "topology/runs_per_unit/fc2" in found["histograms"]
    assert "topology/layers/text_summary" in found["tensors"]


def test_in_a_search_the_first_analysis_waits_for_the_final_mask(tmp_path: Path) -> None:
    run = fit(tmp_path, small(), GemMiner(0.3, search_epochs=2), TopologyAnalysis(figures=False), max_epochs=3)
    pruned = json.loads((run / "analysis" / "topology_pruned" / "summary.json").read_text())
    assert pruned["kept"] == round(0.3 * pruned["size"])


def test_measures_of_the_start_are_those_of_the_pruned_network_before_its_first_step(tmp_path: Path) -> None:
    analysis = TopologyAnalysis(figures=False)
    run = fit(tmp_path, small(), Random(0.3), analysis)
    pruned = json.loads((run / "analysis" / "topology_pruned" / "summary.json").read_text())
    assert analysis.measures_at_start["kept"] == pruned["kept"]
    assert analysis.measures_at_start["effective"] == pruned["effective"]
    again = TopologyAnalysis()
    again.load_state_dict(analysis.state_dict())
    assert again.measures_at_start == analysis.measures_at_start


def test_a_mask_that_is_found_later_has_no_measures_at_the_start(tmp_path: Path) -> None:
    analysis = TopologyAnalysis(figures=False)
    fit(tmp_path, small(), GemMiner(0.3, search_epochs=2), analysis, max_epochs=3)
    assert analysis.measures_at_start == {}


def test_the_trained_network_is_compared_with_its_start_and_with_references(tmp_path: Path) -> None:
    reference = FC(depth=3, width=12)
    add_masks(reference)
    save_checkpoint(reference, tmp_path / "other.ckpt")
    module = small()
    start = {name: w.copy() for name, w in layer_weights(module.network).items()}
    run = fit(tmp_path, module, Random(0.3), NetworkComparison([str(tmp_path / "other.ckpt")], images=32))
    record = json.loads((run / "analysis" / "comparison" / "distances.json").read_text())
    (comparison,) = record
    assert comparison["networks"] == ["trained", "initial", "other"]
    expected = network_distance(layer_weights(module.network), start, "maed").mean
    assert comparison["measures"]["maed"]["mean"][0][1] == pytest.approx(expected)
    found = EventAccumulator(str(run)).Reload()
    (logged,) = found.Scalars("comparison/initial/maed")
    assert logged.value == pytest.approx(expected, rel=1e-6)
    assert {"comparison/other/correlation", "comparison/initial/nnstd"} <= set(found.Tags()["scalars"])
    assert {"comparison/maed", "comparison/maed_layers"} <= set(found.Tags()["images"])
    iou = mask_overlap(module.network, reference).overall.iou
    assert found.Scalars("comparison/other/iou")[0].value == pytest.approx(iou)


def test_the_start_is_remembered_over_an_interruption(tmp_path: Path) -> None:
    module = small()
    start = {name: w.copy() for name, w in layer_weights(module.network).items()}
    trainer = pl.Trainer(max_epochs=1, callbacks=[Random(0.3), NetworkComparison(figures=False)], logger=False,
                         accelerator="cpu", enable_progress_bar=False, default_root_dir=tmp_path)  # fmt: skip
    trainer.fit(module, Digits(limit=64))
    trainer.save_checkpoint(tmp_path / "half.ckpt", weights_only=False)
    torch.manual_seed(99)
    comparison = NetworkComparison(figures=False)
    resumed = pl.Trainer(max_epochs=2, callbacks=[Random(0.3), comparison], logger=False, accelerator="cpu",
                         enable_progress_bar=False, default_root_dir=tmp_path)  # fmt: skip
    resumed.fit(small(), Digits(limit=64), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    remembered = comparison.state_dict()["initial"]
    assert all(np.array_equal(remembered[f"{name}.weight"], w) for name, w in start.items())


def test_analysing_changes_neither_masks_nor_weights(tmp_path: Path) -> None:
    results = []
    for callbacks in ([], [TopologyAnalysis(figures=False), NetworkComparison(images=16, figures=False)]):
        pl.seed_everything(5)
        module = small()
        fit(tmp_path, module, Random(0.3), *callbacks)
        results.append((module.state_dict(), torch.rand(1)))
    (first, number), (second, again) = results
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert number == again


def test_a_failing_analysis_warns_and_the_fit_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no such measure")

    monkeypatch.setattr("sparsity.callbacks.analysis.topology", broken)
    module = small()
    with pytest.warns(UserWarning, match="TopologyAnalysis failed and is left out.*no such measure"):
        fit(tmp_path, module, Random(0.3), TopologyAnalysis())


@pytest.mark.parametrize("content", ["nothing", "other architecture"])
def test_a_reference_that_cannot_be_compared_is_refused_before_training(content: str, tmp_path: Path) -> None:
    path = tmp_path / "reference.ckpt"
    if content == "nothing":
        path.write_bytes(b"nothing")
    else:
        save_checkpoint(FC(depth=3, width=13), path)
    module = small()
    before = module.network.fc1.weight.clone()
    with pytest.raises(SparsityError, match=r"cannot compare with .*reference\.ckpt"):
        fit(tmp_path, module, Random(0.3), NetworkComparison([str(path)]))
    assert torch.equal(module.network.fc1.weight, before)


def test_it_works_in_anybodys_module_without_a_logger(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any], tmp_path: Path
) -> None:
    make_trainer(Random(0.3), TopologyAnalysis(), NetworkComparison()).fit(make_module(), loader, loader)
    assert not list(tmp_path.rglob("analysis"))
