from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsity.errors import SparsityError
from sparsity.study.objective import counted, density_asked, logged, validation_accuracy
from sparsity.study.running import Run

ACCURACIES = {1: 0.9, 2: 0.5, 3: 0.6, 4: 0.55}


@pytest.mark.parametrize(
    ("densities", "asked", "epochs"),
    [
        ({1: 1.0, 2: 0.3, 3: 0.1005, 4: 0.1}, 0.1, [3, 4]),  # a half per cent off is there
        ({1: 1.0, 2: 0.3, 3: 0.102, 4: 0.1}, 0.1, [4]),
        ({1: 0.1, 2: 0.1, 3: 0.1, 4: 0.1}, 0.1, [1, 2, 3, 4]),
        ({1: 1.0, 2: 1.0}, 0.1, []),
        ({}, 0.1, []),
        ({}, None, [1, 2, 3, 4]),  # dense
    ],
)
def test_epochs_count_from_when_the_density_is_there(
    densities: Mapping[int, float], asked: float | None, epochs: list[int]
) -> None:
    found = counted({"val/accuracy": ACCURACIES, "density/network": densities}, asked)
    assert found == {epoch: ACCURACIES[epoch] for epoch in epochs}


@pytest.mark.parametrize(
    ("config", "density"),
    [
        ({"pruner": {"class_path": "SET", "init_args": {"density": 0.1}}}, 0.1),
        ({"pruner": {"class_path": "MaskFrom", "init_args": {"density": None}}}, None),
        ({"pruner": None}, None),
        ({}, None),
    ],
)
def test_the_density_is_the_pruners(config: Mapping[str, Any], density: float | None) -> None:
    assert density_asked(config) == density


def run_in(folder: Path) -> Run:
    return Run(folder.parent.parent, {}, "")


def best(folder: Path, epoch: int) -> None:
    torch.save({"epoch": epoch}, folder / "checkpoints" / "best.ckpt")


def test_a_run_came_to_the_accuracy_of_the_epoch_of_its_best_checkpoint(save_run: Callable[..., Path]) -> None:
    folder = save_run("version_0", curve={0: 0.9, 1: 0.5, 2: 0.625})  # the first epoch was dense
    best(folder, 2)
    assert validation_accuracy(run_in(folder)) == 0.625


def test_the_best_may_be_of_an_earlier_session(save_run: Callable[..., Path]) -> None:
    first = save_run("version_0", curve={0: 0.25, 1: 0.75, 2: 0.5})
    best(first, 1)
    second = save_run("version_1", curve={2: 0.625}, ckpt_path=str(first / "checkpoints" / "last.ckpt"))
    (second / "checkpoints" / "best.ckpt").unlink()
    assert logged(run_in(second).folder)["val/accuracy"] == {1: 0.25, 2: 0.75, 3: 0.625}
    assert validation_accuracy(run_in(second)) == 0.75


def test_without_a_best_checkpoint_there_is_nothing_to_search_by(save_run: Callable[..., Path]) -> None:
    folder = save_run("version_0", curve={0: 0.5})
    (folder / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(SparsityError, match=r"has no best\.ckpt, and so no validation accuracy to search by"):
        validation_accuracy(run_in(folder))
    other = save_run("version_1")
    best(other, 0)
    with pytest.raises(SparsityError, match="has not logged val/accuracy of epoch 1"):
        validation_accuracy(run_in(other))
