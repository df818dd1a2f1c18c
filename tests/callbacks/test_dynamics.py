"""Moving masks are followed: what is written equals what the masks were, resumed or not."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from sparsity.callbacks import (
    GemMiner,
    GradualMagnitude,
    IterativeMagnitude,
    MaskDynamics,
    RigL,
    SparseCheckpoint,
    SynFlow,
)
from sparsity.callbacks.network import network_of
from sparsity.masks import masks
from sparsity.plotting.animation import mask_animation

PRUNERS = {
    "RigL": lambda: RigL(0.3, interval=3),
    "gradual": lambda: GradualMagnitude(0.3, interval=4),
    "tickets": lambda: IterativeMagnitude(0.3, rounds=2),
    "Gem-Miner": lambda: GemMiner(0.3, search_epochs=4, period=1),
}


class Witness(pl.Callback):
    """Keeps the mask in use after every step and epoch."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, torch.Tensor]] = []

    def look(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        (pruner,) = (c for c in trainer.callbacks if hasattr(c, "current_mask"))
        mask = torch.cat([m.flatten() for m in pruner.current_mask(network_of(module)).values()]).clone()
        self.seen.append((trainer.global_step, mask))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.look(trainer, pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.look(trainer, pl_module)


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def written(tmp_path: Path) -> Path:
    (found,) = tmp_path.glob("lightning_logs/*/analysis/dynamics")
    return found


@pytest.mark.parametrize("name", PRUNERS)
def test_what_is_written_is_what_the_masks_were(
    name: str, make_module: Any, make_trainer: Any, loader: Any, tmp_path: Path
) -> None:
    witness = Witness()
    trainer = make_trainer(PRUNERS[name](), witness, MaskDynamics(), max_epochs=6, logger=True)
    trainer.fit(make_module(), loader)
    folder = written(tmp_path)
    found = rows(folder / "updates.csv")
    ever, last = torch.zeros_like(witness.seen[0][1]), None
    by_step = dict(witness.seen)
    steps = [int(row["step"]) for row in found]
    assert steps == sorted(steps)
    assert len(found) >= 3
    for row in found:
        mask = by_step.get(int(row["step"]))
        if mask is None or name == "Gem-Miner":  # whose masks of every epoch alone are looked at
            continue
        ever |= mask
        assert float(row["density"]) == pytest.approx(float(mask.float().mean()))
        assert float(row["explored"]) == pytest.approx(float(ever.float().mean()))
        if last is not None:
            assert float(row["churn"]) == pytest.approx(int((mask & ~last).sum()) / int(mask.sum()))
        last = mask
    assert float(found[-1]["density"]) == pytest.approx(0.3, abs=0.01)
    assert float(found[-1]["iou_with_last_mask"]) == 1
    assert found[-1]["dead_units"] != ""
    assert len(rows(folder / "layers.csv")) == 3 * len(found)
    with Image.open(folder / "masks.gif") as picture:
        assert picture.n_frames > 1


def test_a_mask_that_does_not_move_leaves_nothing(
    make_module: Any, make_trainer: Any, loader: Any, tmp_path: Path
) -> None:
    make_trainer(SynFlow(0.3, iterations=2), MaskDynamics(), logger=True).fit(make_module(), loader)
    make_trainer(MaskDynamics(), logger=True).fit(make_module(), loader)
    assert not list(tmp_path.glob("lightning_logs/*/analysis/dynamics"))


@pytest.mark.parametrize("name", PRUNERS)
def test_a_resumed_run_writes_what_it_would_have_written(
    name: str, make_module: Any, make_trainer: Any, resumable: Any, tmp_path: Path
) -> None:
    class Stops(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.global_step == 14:
                trainer.save_checkpoint(tmp_path / "middle.ckpt")

    texts = []
    for checkpoint in (None, tmp_path / "middle.ckpt"):
        trainer = make_trainer(
            PRUNERS[name](),
            MaskDynamics(animation=False),
            SparseCheckpoint(),
            Stops(),
            max_epochs=6,
            logger=True,
            enable_checkpointing=True,
        )
        torch.manual_seed(0)
        trainer.fit(make_module(), resumable(), ckpt_path=checkpoint)
        (folder,) = Path(trainer.loggers[0].log_dir).glob("analysis/dynamics")
        texts.append((folder / "updates.csv").read_text() + (folder / "layers.csv").read_text())
    assert texts[0] == texts[1]
    assert torch.load(tmp_path / "middle.ckpt", weights_only=True)["callbacks"]["MaskDynamics"]["history"]["updates"]


def test_it_changes_nothing(make_module: Any, make_trainer: Any, loader: Any) -> None:
    states = []
    for others in ([], [MaskDynamics()]):
        torch.manual_seed(0)
        module = make_module()
        loader.generator.manual_seed(1)
        make_trainer(RigL(0.3, interval=3), *others, max_epochs=3, logger=True).fit(module, loader)
        states.append(module.state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    assert masks(module)


def test_an_animation_is_small_and_shows_every_layer() -> None:
    generator = torch.Generator().manual_seed(0)
    frames = [
        (step, {name: (torch.rand(shape, generator=generator) < 0.5).numpy() for name, shape in
                {"first": (300, 784), "second": (100, 300), "last": (10, 100), "one": (1, 1)}.items()})
        for step in range(48)
    ]  # fmt: skip
    found = mask_animation(frames)
    assert len(found) <= 2_000_000
    with Image.open(io.BytesIO(found)) as picture:
        assert picture.size[0] == 640
        assert 2 <= picture.n_frames <= 48
