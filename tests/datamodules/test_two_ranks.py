import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from sparsity.datamodules import CIFAR10

SCRIPT = Path(__file__).parent / "two_ranks.py"
ROOT = SCRIPT.parent.parent.parent


def fit_on_two_ranks(*arguments: Path) -> list[dict[str, Any]]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return [torch.load(arguments[1] / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


def test_two_ranks_share_each_epoch_and_resume_exactly(cifar_root: Path, tmp_path: Path) -> None:
    ranks = fit_on_two_ranks(cifar_root, tmp_path / "whole")
    assert ranks[0]["seed"] == ranks[1]["seed"]
    assert torch.equal(ranks[0]["weight"], ranks[1]["weight"])

    data = CIFAR10(batch_size=16, val_size=40, data_dir=str(cifar_root), verify=False)
    data.setup("fit")
    everything = sorted(tuple(i) for i in data.train_dataloader().dataset.images.flatten(1)[:, :8].tolist())
    orders = []
    for epoch in range(2):
        parts = [[image for e, batch in rank["seen"] if e == epoch for image in batch] for rank in ranks]
        assert len(parts[0]) == len(parts[1]) == 80
        assert sorted(parts[0] + parts[1]) == everything
        orders.append(parts)
    assert orders[0] != orders[1]

    step = 3
    resumed = fit_on_two_ranks(cifar_root, tmp_path / "resumed", tmp_path / "whole" / f"step={step}.ckpt")
    for before, after in zip(ranks, resumed, strict=True):
        assert torch.equal(before["weight"], after["weight"])
        assert before["seen"][step:] == after["seen"]
