import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import yaml
from pytorch_lightning.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from sparsity.runs.dashboards import (
    FINAL_METRICS,
    hyperparameters,
    label,
    log_distribution,
    log_figure,
    log_table,
)
from sparsity.runs.folder import RunFolder


def test_a_label_says_method_density_and_seed_and_is_a_folder() -> None:
    assert label("SynFlow", 0.1, 42) == "SynFlow-0.1-seed42"
    assert label("SynFlow (shuffle)", 0.0372, None) == "SynFlow_shuffle_-0.0372"
    assert label("dense", None, 1) == "dense-seed1"
    assert label("../a b/<c>", None, None) == ".._a_b_c_"


def test_hyperparameters_are_flat_and_named_as_options() -> None:
    settings = {
        "seed_everything": 42,
        "ablation": None,
        "pruner": {"class_path": "sparsity.callbacks.SynFlow", "init_args": {"density": 0.1, "allocation": None}},
        "data": {"class_path": "MNIST", "init_args": {"data_dir": "/x", "num_workers": 2, "batch_size": 64}},
        "model": {"network": {"class_path": "a.FC", "init_args": {"input_shape": [1, 28, 28]}}, "exclude": []},
    }
    assert hyperparameters(settings) == {
        "seed_everything": 42,
        "pruner": "SynFlow",
        "pruner.density": 0.1,
        "data": "MNIST",
        "data.batch_size": 64,
        "model.network": "FC",
        "model.network.input_shape": "[1, 28, 28]",
    }
    assert list(hyperparameters(settings))[:5] == [
        "pruner",
        "pruner.density",
        "seed_everything",
        "data",
        "model.network",
    ]


ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, EventAccumulator]:
    root = tmp_path_factory.mktemp("runs")
    flags = f"--trainer.max_epochs 1 --trainer.callbacks null --trainer.default_root_dir {root}"
    command = [sys.executable, "-m", "sparsity", "fit", "--config", "configs/quickstart.yaml", *flags.split()]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    folder = RunFolder(root / "lightning_logs" / "version_0")
    (place,) = folder.events_folders
    found = EventAccumulator(str(place))
    found.Reload()
    return folder, found


def test_tensorboard_lists_a_run_by_what_it_is(events: tuple[RunFolder, EventAccumulator]) -> None:
    (place,) = events[0].events_folders
    assert place == events[0].path / "SynFlow-0.1-seed42"
    written = yaml.safe_load((place / "hparams.yaml").read_text())
    assert (written["pruner"], written["pruner.density"], written["data"]) == ("SynFlow", 0.1, "Digits")


def test_its_table_of_hyperparameters_has_the_pruner_and_final_metrics(
    events: tuple[RunFolder, EventAccumulator],
) -> None:
    found = events[1]
    told = {
        name: plugin_data_pb2.HParamsPluginData.FromString(content)
        for name, content in found.PluginTagToContent("hparams").items()
    }
    values = dict(told["_hparams_/session_start_info"].session_start_info.hparams)
    assert values["pruner"].string_value == "SynFlow"
    assert values["pruner.density"].number_value == 0.1
    assert [m.name.tag for m in told["_hparams_/experiment"].experiment.metric_infos] == list(FINAL_METRICS)
    scalars = set(found.Tags()["scalars"])
    assert set(FINAL_METRICS) <= scalars
    assert "hp_metric" not in scalars


def test_charts_are_laid_out_over_tags_that_there_are(events: tuple[RunFolder, EventAccumulator]) -> None:
    found = events[1]
    (summary,) = found.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(summary.tensor_proto.string_val[0])
    charts = {chart.title: list(chart.multiline.tag) for category in layout.category for chart in category.chart}
    assert charts["loss"] == ["train/loss", "val/loss"]
    scalars = set(found.Tags()["scalars"])
    assert {tag for title in ("loss", "accuracy", "top-5 accuracy") for tag in charts[title]} <= scalars


def test_what_a_logger_has_no_place_for_is_left_out(tmp_path: Path) -> None:
    figure, _ = plt.subplots()
    logger = CSVLogger(tmp_path)
    log_figure(logger, "a/figure", figure, 3)
    log_table(logger, "a/table", ["x"], [["1"]], 3)
    log_distribution(logger, "a/values", np.ones(3), 3)
    logger.save()
    plt.close(figure)
    assert not list(tmp_path.rglob("*.csv"))


def test_tensorboard_gets_all_kinds(tmp_path: Path) -> None:
    figure, _ = plt.subplots()
    logger = TensorBoardLogger(tmp_path)
    log_figure(logger, "a/figure", figure, 3)
    log_table(logger, "a/table", ["x", "y"], [["1", "2 | 3"]], 3)
    log_distribution(logger, "a/values", np.array([1.0, 2.0]), 3)
    logger.finalize("success")
    plt.close(figure)
    found = EventAccumulator(logger.log_dir)
    found.Reload()
    assert (found.Tags()["images"], found.Tags()["histograms"]) == (["a/figure"], ["a/values"])
    assert "2 \\| 3" in found.Tensors("a/table/text_summary")[0].tensor_proto.string_val[0].decode()


def test_weights_and_biases_gets_them_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="W&B is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    figure, _ = plt.subplots()
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    log_figure(logger, "a/figure", figure, 3)
    log_table(logger, "a/table", ["x", "y"], [["1", "2"]], 3)
    log_distribution(logger, "a/values", np.array([1.0, 2.0]), 3)
    kinds: dict[str, Any] = {name: dict(logger.experiment.summary[f"a/{name}"]) for name in ("table", "values")}
    shown = logger.experiment.summary["a/figure"]
    importlib.import_module("wandb").finish()
    plt.close(figure)
    assert kinds["values"]["_type"] == "histogram"
    assert (kinds["table"]["nrows"], kinds["table"]["ncols"]) == (1, 2)
    assert shown["count"] == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # its own, of its database
def test_mlflow_gets_figures_and_tables(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    figure, _ = plt.subplots()
    logger = MLFlowLogger(tracking_uri=f"sqlite:///{tmp_path}/runs.db", artifact_location=str(tmp_path / "artifacts"))
    log_figure(logger, "a/figure", figure, 3)
    log_table(logger, "a/table", ["x"], [["1"]], 3)
    log_distribution(logger, "a/values", np.ones(3), 3)
    plt.close(figure)
    assert sorted(path.name for path in (tmp_path / "artifacts").rglob("*") if path.is_file()) == [
        "figure.png",
        "table.md",
    ]
