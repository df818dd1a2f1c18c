from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from sparsity.analysis.topology.flops import MultiplyAdds
from sparsity.analysis.topology.unmasked import Unmasked
from sparsity.callbacks import DensityMonitor, GemMiner, Random
from sparsity.callbacks.density import density_metrics, density_table
from sparsity.masks import add_masks

# body.0: 4 filters of 1x3x3, body.3: 4 of 4x3x3, both at 4x4 positions; head: 3 x 64
DENSE_FLOPS = 36 * 16 + 144 * 16 + 192


def rows(logger: CSVLogger) -> list[dict[str, float]]:
    return [m for m in logger.experiment.metrics if "density/network" in m]


def test_numbers_are_those_of_the_layers() -> None:
    metrics = density_metrics({"a": 2, "b": 3}, {"a": 4, "b": 6}, MultiplyAdds({"a": 10, "b": 1}, of_activations=0))
    assert metrics == {
        "density/network": 0.5, "density/a": 0.5, "density/b": 0.5,
        "kept/network": 5, "kept/a": 2, "kept/b": 3, "flops/dense": 46, "flops/effective": 23,
    }  # fmt: skip


def test_a_fixed_mask_is_logged_and_shown_once(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any], tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=10_000)
    seen: list[dict[str, float]] = []
    logger.log_metrics = lambda metrics, step=None: seen.append(dict(metrics))  # type: ignore[method-assign]
    make_trainer(Random(0.25), DensityMonitor(), max_epochs=3, logger=logger).fit(make_module(), loader)
    logged = [m for m in seen if "density/network" in m]
    assert len(logged) == 1
    assert logged[0]["kept/network"] == 93
    assert logged[0]["flops/dense"] == DENSE_FLOPS
    table = capsys.readouterr().out
    assert table.count("25.00%") == 1
    assert "body.3" in table


def test_a_search_is_logged_per_change_and_shown_once_it_is_final(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any], tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = CSVLogger(tmp_path)
    seen: list[dict[str, float]] = []
    logger.log_metrics = lambda metrics, step=None: seen.append(dict(metrics))  # type: ignore[method-assign]
    make_trainer(GemMiner(0.25, search_epochs=3), DensityMonitor(), max_epochs=5, logger=logger).fit(
        make_module(), loader
    )
    counts = [m["kept/network"] for m in seen if "density/network" in m]
    assert len(counts) == len(set(counts)) or counts[-1] == 93
    assert counts[0] < 372  # rounded scores, not the masks
    assert counts[-1] == 93
    assert capsys.readouterr().out.count("network") == 1


def test_no_table_when_asked_for_none(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    make_trainer(Random(0.25), DensityMonitor(table=False)).fit(make_module(), loader)
    assert "layer" not in capsys.readouterr().out


class Recurrent(pl.LightningModule):
    """A masked layer of 20 weights beside an LSTM and an embedding that no mask covers."""

    def __init__(self, dense: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 5)
        self.lstm = nn.LSTM(5, 5, batch_first=True)
        self.body, self.head = nn.Linear(5, 4), nn.Linear(4, 3)
        add_masks(self, dense)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.head(self.body(self.lstm(self.embedding(batch[0]))[0])).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_what_no_mask_covers_has_rows_a_line_and_a_density_of_all(
    make_trainer: Any, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = CSVLogger(tmp_path)
    seen: list[dict[str, float]] = []
    logger.log_metrics = lambda metrics, step=None: seen.append(dict(metrics))  # type: ignore[method-assign]
    data = DataLoader(TensorDataset(torch.randint(7, (8, 6))), batch_size=4)
    with pytest.warns(UserWarning, match="multiply-adds are not known and are left out: Recurrent cannot be traced"):
        make_trainer(Random(0.5), DensityMonitor(), logger=logger).fit(Recurrent(dense=("head", "lstm.*")), data)
    (logged,) = [metrics for metrics in seen if "density/network" in metrics]
    # 10 of 20 masked weights, beside 7 x 5, twice 20 x 5 and 3 x 4
    assert logged["density/network"] == 0.5
    assert logged["density/all"] == (10 + 247) / (20 + 247)
    assert "flops/dense" not in logged
    table = capsys.readouterr().out
    assert [line.split()[1] for line in table.splitlines() if "dense" in line and "│" in line] == [
        "embedding.weight", "lstm.weight_ih_l0", "lstm.weight_hh_l0", "head.weight",
    ]  # fmt: skip
    assert " ".join(table.split()).endswith(
        "masked 20 of 267 matrix weights, density of all 0.962547; dense: lstm.weight_ih_l0 (100), "
        "lstm.weight_hh_l0 (100), embedding.weight (35), head.weight (12)"
    )
    assert "FLOPs" not in table


def test_layers_kept_dense_count_in_multiply_adds() -> None:
    others, costs = Unmasked({"b.weight": 6}), MultiplyAdds({"a": 10, "b.weight": 3}, of_activations=7)
    metrics = density_metrics({"a": 2}, {"a": 4}, costs, others)
    assert metrics == {
        "density/network": 0.5, "density/a": 0.5, "kept/network": 2, "kept/a": 2, "density/all": 0.8,
        "flops/dense": 65, "flops/effective": 45,
    }  # fmt: skip
    cells = [list(column.cells) for column in density_table({"a": 2}, {"a": 4}, costs, others).columns]
    assert cells == [
        ["a", "b.weight", "network"], ["4", "6", "4"], ["2", "6", "2"], ["50.00%", "dense", "50.00%"],
        ["40", "18", "65"], ["20", "18", "45"],
    ]  # fmt: skip


def test_a_long_list_of_dense_weights_is_cut() -> None:
    others = Unmasked({f"w{n}": 10 for n in range(20)})
    names = list(density_table({"a": 2}, {"a": 4}, None, others).columns[0].cells)
    assert names == ["a", *(f"w{n}" for n in range(12)), "8 others", "network"]


def test_a_network_that_is_one_layer_has_a_name_in_the_log() -> None:
    assert density_metrics({"": 2}, {"": 4}, MultiplyAdds({"": 1}, of_activations=0))["density/itself"] == 0.5
