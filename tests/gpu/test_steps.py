"""Training steps on a GPU: where the images lie, what is captured, and that no step waits for the device."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from sparsity.callbacks import GemMiner, SynFlow
from sparsity.classifier import SparseClassifier
from sparsity.datamodules.augmentation import random_crop_and_flip
from sparsity.datamodules.images import ImageDataModule
from sparsity.networks import FC, ResNet
from sparsity.trainer.captured import CapturedStep
from sparsity.trainer.internals import use_lean_loop
from tests.trainer.test_captured import Dropping


class RandomImages(ImageDataModule):
    """320 images that are cropped and flipped."""

    input_shape, num_classes, mean, std = (1, 28, 28), 10, (0.4,), (0.3,)
    augmentation = staticmethod(random_crop_and_flip)

    def read(self, train: bool) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(int(train))
        images = torch.randint(256, (320, *self.input_shape), dtype=torch.uint8, generator=generator)
        return images, torch.randint(10, (320,), generator=generator)


class Seen(pl.Callback):
    """Keeps the batches of training, and where the data set lies."""

    def __init__(self) -> None:
        self.batches: list[tuple[Tensor, Tensor]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, number: int) -> None:
        assert batch[0].device == pl_module.device
        self.batches.append((batch[0].cpu(), batch[1].cpu()))
        self.place = trainer.train_dataloader.dataset.images.device.type


class NoWaiting(pl.Callback):
    """Lets everything fail that waits for the device in the steps of the second epoch."""

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, number: int) -> None:
        if trainer.current_epoch == 1 and number == 0 and pl_module.device.type == "cuda":
            torch.cuda.set_sync_debug_mode("error")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, number: int
    ) -> None:
        if number == trainer.num_training_batches - 2 and pl_module.device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")


def trained(
    accelerator: str, network: nn.Module, *callbacks: pl.Callback, capture: bool = False, **flags: Any
) -> SparseClassifier:
    pl.seed_everything(1, verbose=False)
    module = SparseClassifier(network, capture=capture, channels_last=False)
    trainer = pl.Trainer(
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, devices=1,
        callbacks=list(callbacks), **{"max_epochs": 3, "accelerator": accelerator, **flags},
    )  # fmt: skip
    use_lean_loop(trainer)
    trainer.fit(module, datamodule=RandomImages(batch_size=64, val_size=20))
    return module


def test_a_device_sees_the_images_that_the_cpu_sees(accelerator: str) -> None:
    there, here = Seen(), Seen()
    trained(accelerator, FC(width=8, depth=2), there)
    trained("cpu", FC(width=8, depth=2), here)
    assert there.place == ("cuda" if accelerator == "gpu" else "cpu")
    assert len(there.batches) == len(here.batches) == 15
    for (images, labels), (others, theirs) in zip(there.batches, here.batches, strict=True):
        assert torch.equal(labels, theirs)
        assert torch.allclose(images, others, rtol=0, atol=1e-6)


@pytest.mark.parametrize("capture", [False, True])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_no_ordinary_step_waits_for_the_device(accelerator: str, capture: bool, precision: str) -> None:
    try:
        trained(accelerator, ResNet(8, width=4, input_shape=(1, 28, 28)), SynFlow(0.3, iterations=2), NoWaiting(),
                capture=capture, precision=precision)  # fmt: skip
    finally:
        if accelerator == "gpu":
            torch.cuda.set_sync_debug_mode("default")


NETWORKS = {
    "FC": lambda: FC(width=16, depth=3),
    "ResNet": lambda: ResNet(8, width=4, input_shape=(1, 28, 28)),
    "dropout": Dropping,
}


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("pruner", [lambda: SynFlow(0.3, iterations=2), lambda: GemMiner(0.3, search_epochs=2)])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_captured_fit_ends_as_the_fit_step_by_step(
    name: str, pruner: Any, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    replays: list[int] = []
    replay = CapturedStep.__call__
    monkeypatch.setattr(CapturedStep, "__call__", lambda self, *x: (replays.append(len(x[0])), replay(self, *x))[1])
    states = []
    for capture in (False, True):
        pl.seed_everything(0, verbose=False)
        states.append(trained("gpu", NETWORKS[name](), pruner(), capture=capture, precision=precision).state_dict())
    assert set(replays) == {64}
    assert len(replays) >= 8
    differing = {key for key, tensor in states[0].items() if not torch.equal(tensor, states[1][key])}
    print(f"{name}, {precision}: {len(differing)} of {len(states[0])} tensors differ in some bit")
    for key, tensor in states[0].items():
        # Of kernels that add in any order the last bits may differ, and grow over a dozen steps.
        assert torch.allclose(tensor.float(), states[1][key].float(), rtol=1e-2, atol=1e-3), key
