"""Folders of runs as a fit leaves them, without the fit."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.utils.tensorboard import SummaryWriter

from sparsity.interop import save_checkpoint
from sparsity.masks import add_masks, density, masks, set_mask
from sparsity.networks import FC


def save_network(path: Path, seed: int, kept: float = 0.3) -> float:
    """A small network's checkpoint; its density."""
    generator = torch.Generator().manual_seed(seed)
    network = FC(depth=3, width=8)
    add_masks(network)
    scores = {name: torch.rand(mask.shape, generator=generator) for name, mask in masks(network).items()}
    set_mask(network, {name: score < kept for name, score in scores.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(network, path)
    return density(network)


@pytest.fixture
def save_run(tmp_path: Path) -> Callable[..., Path]:
    """Write `runs/lightning_logs/<name>`."""

    def save(
        name: str,
        method: str = "Random",
        asked: float = 0.3,
        seed: int = 1,
        accuracy: float = 0.9,
        curve: Mapping[int, float] = {},
        finished: bool = True,
        **config: Any,
    ) -> Path:
        folder = tmp_path / "runs" / "lightning_logs" / name
        density = save_network(folder / "checkpoints" / "best.ckpt", seed)
        (folder / "config.yaml").write_text(yaml.safe_dump({"seed_everything": seed, "ckpt_path": None, **config}))
        with SummaryWriter(str(folder)) as writer:
            for epoch, value in curve.items():
                writer.add_scalar("epoch", epoch, 10 * epoch)
                writer.add_scalar("val/accuracy", value, 10 * epoch)
        if finished:
            tested = {"best": accuracy, "last": accuracy - 0.1}
            summary = {"method": method, "density_asked": asked, "density": density, "test_accuracy": tested}
            (folder / "summary.json").write_text(json.dumps(summary))
        return folder

    return save
