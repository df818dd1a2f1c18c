from pathlib import Path
from typing import Any

import pytest

from sparsity.errors import SparsityError
from sparsity.study.distributions import Range
from sparsity.study.grid import Point
from sparsity.study.planning import _loggers_in, plan

CSV = {"class_path": "pytorch_lightning.loggers.CSVLogger", "init_args": {"save_dir": "elsewhere", "prefix": "x"}}
MLFLOW = {"class_path": "pytorch_lightning.loggers.MLFlowLogger", "init_args": {"save_dir": "shared"}}
TENSORBOARD = {"class_path": "pytorch_lightning.loggers.TensorBoardLogger", "init_args": {"save_dir": "elsewhere"}}
OWN = {"save_dir": "run", "name": "lightning_logs", "version": None}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        (True, True),
        (TENSORBOARD, [{**TENSORBOARD, "init_args": OWN}]),
        ([MLFLOW, CSV], [{**TENSORBOARD, "init_args": OWN}, MLFLOW, {**CSV, "init_args": {"prefix": "x", **OWN}}]),
    ],
)
def test_loggers_write_into_the_run_s_folder_and_one_is_tensorboard_s(given: Any, expected: Any) -> None:
    assert _loggers_in(Path("run"), given) == expected


def test_a_search_has_no_runs_that_could_be_planned() -> None:
    search = Point({"pruner": "SET", "lr": "0 to 1"}, (), {}, {"lr": Range(0.0, 1.0)}, 9)
    with pytest.raises(SparsityError, match="SET draws lr, so its runs are found while they go"):
        plan([search], Path("study"), lambda arguments: "")
