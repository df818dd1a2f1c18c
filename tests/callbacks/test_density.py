from typing import Any

import pytest
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader

from sparsity.callbacks import DensityMonitor, GemMiner, Random
from sparsity.callbacks.density import density_metrics

# body.0: 4 filters of 1x3x3, body.3: 4 of 4x3x3, both at 4x4 positions; head: 3 x 64
DENSE_FLOPS = 36 * 16 + 144 * 16 + 192


def rows(logger: CSVLogger) -> list[dict[str, float]]:
    return [m for m in logger.experiment.metrics if "density/network" in m]


def test_numbers_are_those_of_the_layers() -> None:
    metrics = density_metrics({"a": 2, "b": 3}, {"a": 4, "b": 6}, {"a": 10, "b": 1})
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
