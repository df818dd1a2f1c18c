"""What all image data modules share: the split, the loaders, and augmentation and normalisation on the device."""

import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn
from torch import Generator, Tensor
from torch.utils.data import DataLoader
from typing_extensions import override

from sparsity.datamodules.augmentation import Normalise
from sparsity.datamodules.loading import (
    Batch,
    EpochSampler,
    InMemoryImages,
    InOrderLoader,
    ResumableLoader,
    ShareSampler,
    fit_on,
    unchanged,
)
from sparsity.errors import SparsityError, require_whole_number
from sparsity.seeding import named_generator

SPLIT_SEED = 0
"""Seed of the validation split and of `limit`: not the run's, so that runs with different seeds are comparable."""


class Augmented(pl.LightningDataModule):
    """Data that change from epoch to epoch; how is no option, but what a subclass or an object of it is."""

    augmentation: Callable[[Tensor, Generator], Tensor] | None = None
    """What happens to uint8 training images `[batch, *input_shape]`, given a generator for this batch."""


@dataclass(eq=False)
class ImageDataModule(Augmented):
    """A data set of small images that fits into memory. A subclass says how to read it.

    Batches are float32 images `[batch, *input_shape]` and int64 labels `[batch]`. Training order and augmentation
    depend on the run's seed, the epoch, the batch and the rank alone, never on what was drawn before; the seed is
    saved, so a run that is resumed from any checkpoint sees what it would have seen, on any device. No loader touches
    the global random state.

    On a GPU with room for them the images lie there as uint8, and what happens to a batch happens there; otherwise
    batches are sent from pinned memory while the step before runs.

    Args:
        batch_size: Images per step and process.
        val_size: Training images set aside for validation, the same ones in every run; 0 for no validation.
        num_workers: Processes that fetch batches; 0, fetching in the main process, is fastest for data in memory.
        limit: Train on so many images only, the same ones in every run; by default on all.
        order_seed: Base seed of order and augmentation; by default the run's, and of a run that goes on that of the
            run before. With another one, children of one checkpoint see their data differently.

    Raises:
        SparsityError: If an argument is out of its range.
    """

    input_shape: ClassVar[tuple[int, int, int]]
    """Channels, height and width of an image."""
    num_classes: ClassVar[int]
    mean: ClassVar[tuple[float, ...]]
    """Per channel, of pixels in [0, 1]."""
    std: ClassVar[tuple[float, ...]]
    """Per channel, of pixels in [0, 1]."""

    batch_size: int = 128
    val_size: int = 5000
    num_workers: int = 0
    limit: int | None = None
    order_seed: int | None = None

    def __post_init__(self) -> None:
        super().__init__()
        require_whole_number("batch_size", self.batch_size, at_least=1)
        require_whole_number("val_size", self.val_size, at_least=0)
        require_whole_number("num_workers", self.num_workers, at_least=0)
        if self.limit is not None:
            require_whole_number("limit", self.limit, at_least=1)
        if self.order_seed is not None:
            require_whole_number("order_seed", self.order_seed, at_least=0)
        self.seed: int | None = None
        """Base seed of order and augmentation; taken from the run in `setup`, or from the checkpoint it resumes."""
        self._position: dict[str, int] | None = None
        self._restarted: tuple[int, int, int] | None = None
        self._normalise = Normalise(self.mean, self.std)
        self._train: InMemoryImages | None = None
        self._val: InMemoryImages | None = None
        self._test: InMemoryImages | None = None

    @abstractmethod
    def read(self, train: bool) -> tuple[Tensor, Tensor]:
        """Read the training or the test images, all of them, in their original order.

        Args:
            train: Whether to read the training images; the test images otherwise.

        Returns:
            Images `[samples, *input_shape]`, uint8, and labels `[samples]`, int64, in [0, num_classes).

        Raises:
            SparsityError: If they cannot be read.
        """

    @override
    def setup(self, stage: str | None = None) -> None:
        """Read what a stage needs, once.

        Args:
            stage: `fit`, `validate`, `test` or `predict`; by default everything.

        Raises:
            SparsityError: If the files are missing or broken, or `val_size` or `limit` are larger than they allow.
        """
        if stage in (None, "fit"):
            # Ranks that were not seeded have seeds of their own; they must agree on one order.
            seed = torch.initial_seed() if self.order_seed is None else self.order_seed
            self.seed = seed if self.trainer is None else self.trainer.strategy.broadcast(seed)
            self._position = self._restarted = None
        if stage in (None, "fit", "validate") and self._train is None:
            self._split(*self._read_checked(train=True))
        if stage in (None, "test", "predict") and self._test is None:
            self._test = InMemoryImages(*self._read_checked(train=False))

    def _read_checked(self, train: bool) -> tuple[Tensor, Tensor]:
        """What `read` gives, if it is what `read` is to give: all else would be trained on in silence."""
        images, labels = self.read(train)
        name = f"{type(self).__name__}.read"
        if images.dtype != torch.uint8:
            raise SparsityError(f"{name} must give images as uint8, from 0 to 255, not {images.dtype}")
        if tuple(images.shape[1:]) != tuple(self.input_shape):
            raise SparsityError(
                f"{name} must give images shaped [samples, {', '.join(map(str, self.input_shape))}], as its "
                f"input_shape says, not {list(images.shape)}"
            )
        if labels.shape[:1] != images.shape[:1]:
            raise SparsityError(f"{name} must give a label for every image, not {len(labels)} for {len(images)}")
        if labels.is_floating_point():
            raise SparsityError(f"{name} must give labels as class indices, int64, not {labels.dtype}")
        return images, labels

    def _split(self, images: Tensor, labels: Tensor) -> None:
        name, found = type(self).__name__, len(labels)
        if self.val_size >= found:
            raise SparsityError(
                f"val_size={self.val_size} leaves nothing to train on: {name} has {found} training images here"
            )
        if self.limit is not None and self.limit > found - self.val_size:
            raise SparsityError(
                f"limit={self.limit} is more than the {found - self.val_size} training images that {name} has here "
                f"beside {self.val_size} for validation; give at most that, or none for all"
            )
        order = torch.randperm(found, generator=named_generator("validation split", seed=SPLIT_SEED))
        val, train = order[: self.val_size], order[self.val_size :][: self.limit]
        self._train = InMemoryImages(images[train], labels[train])
        self._val = InMemoryImages(images[val], labels[val])

    @override
    def train_dataloader(self) -> ResumableLoader:
        """Batches of uint8 training images in an order that depends on the seed and the epoch."""
        images = _loaded(self._train, "fit")
        if self.seed is None:
            raise SparsityError("training needs a seed for its order; call setup('fit') first")
        options: dict[str, Any] = {}
        if (trainer := self.trainer) is not None:
            # Lightning 2.6 tells samplers an epoch too many after a resume from an epoch's end under `max_steps`.
            options["current_epoch"] = lambda: trainer.current_epoch
            options.update(trainer.distributed_sampler_kwargs or {})
        sampler = EpochSampler(len(images), self.seed, **options)
        loader = ResumableLoader(**self._loader_options(images), sampler=sampler)
        if self._restarted is not None:
            self._restart(sampler, *self._restarted)
        if self._position is not None:
            loader.load_state_dict(self._position)
            self._position = None
        return loader

    @override
    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """One loader of the validation images in a fixed order, or none if there are none."""
        images = _loaded(self._val, "validate")
        if not len(images):
            # Lightning asks whether an empty list is intended. It is, and it has no other way to say so.
            warnings.filterwarnings("ignore", message="Total length of `list` across ranks is zero")
            return []
        return [InOrderLoader(**self._loader_options(images))]

    @override
    def test_dataloader(self) -> DataLoader[Batch]:
        """The test images in their original order, each once however many processes there are."""
        images, options = _loaded(self._test, "test"), dict[str, Any]()
        if self.trainer is not None and (ranks := self.trainer.distributed_sampler_kwargs) is not None:
            options["sampler"] = ShareSampler(len(images), **ranks)
        return InOrderLoader(**self._loader_options(images), **options)

    @override
    def predict_dataloader(self) -> DataLoader[Batch]:
        """The test images in their original order, with their labels."""
        return InOrderLoader(**self._loader_options(_loaded(self._test, "predict")))

    @override
    def teardown(self, stage: str) -> None:
        """Free the images on a device.

        Args:
            stage: As in `setup`.
        """
        for images in (self._train, self._val, self._test):
            if images is not None:
                images.leave_device()

    def _loader_options(self, images: InMemoryImages) -> dict[str, Any]:
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        resident = self.num_workers == 0 and fit_on(device, images)
        return {
            "dataset": images.on(device) if resident else images,
            "batch_size": self.batch_size,
            "num_workers": self.num_workers,
            "collate_fn": unchanged,
            "pin_memory": device.type == "cuda" and not resident,
            # A DataLoader draws a seed for its workers whenever it is iterated, from the global generator unless it
            # has its own.
            "generator": torch.Generator(),
        }

    @override
    def on_after_batch_transfer(self, batch: Batch | Tensor, dataloader_idx: int) -> Batch | Tensor:
        """Augment uint8 images while training, and normalise them.

        Args:
            batch: uint8 images `[batch, *input_shape]` and labels `[batch]`, on the device.
            dataloader_idx: Not used.

        Returns:
            Images of the same shape in the module's dtype (float32 without one), and the labels.
        """
        if isinstance(batch, Tensor):  # the module's example_input_array, which Lightning sends through here too
            return batch
        images, labels = batch
        trainer = self.trainer
        if self.augmentation is not None and trainer is not None and trainer.training:
            names = ("augmentation", *self._place(trainer), trainer.global_rank)
            images = self.augmentation(images, named_generator(*names, seed=self.seed))
        floats = self._normalise(images)
        return floats if trainer is None else floats.to(trainer.lightning_module.dtype), labels

    def _place(self, trainer: pl.Trainer) -> tuple[int, int]:
        """Epoch and number of the training batch at hand, as a run that never restarted would count them."""
        # The batch is not counted yet, so `batch_idx` is still that of the last one.
        epoch, number = trainer.current_epoch, trainer.fit_loop.batch_idx + 1
        if self._restarted is None:
            return epoch, number
        restarted_in, first_epoch, first_batch = self._restarted
        more_epochs, batch = divmod(first_batch + number, int(trainer.num_training_batches))
        return first_epoch + epoch - restarted_in + more_epochs, batch

    def restart_order(self, epoch: int, batch: int) -> None:
        """Go back to a place in the data: the epoch that begins now has the order and augmentation that follow it.

        Args:
            epoch: Of the run, counted from 0.
            batch: Number of the batch in that epoch that comes first now.
        """
        trainer, loader = self.trainer, self.trainer.train_dataloader if self.trainer else None
        if trainer is None or not isinstance(loader, ResumableLoader):
            raise SparsityError("there is no order to restart before training; call it during a fit")
        self._restarted = (trainer.current_epoch, epoch, batch)
        assert isinstance(loader.sampler, EpochSampler)
        self._restart(loader.sampler, *self._restarted)

    def _restart(self, sampler: EpochSampler, restarted_in: int, epoch: int, batch: int) -> None:
        sampler.restart(restarted_in, epoch * sampler.size + batch * self.batch_size * sampler.num_replicas)

    @override
    def state_dict(self) -> dict[str, Any]:
        """The base seed, and how far training has come in its epoch."""
        state: dict[str, Any] = {} if self.seed is None else {"seed": self.seed, "restarted": self._restarted}
        trainer = self.trainer
        if trainer is not None and isinstance(trainer.train_dataloader, ResumableLoader):
            state["position"] = trainer.train_dataloader.state_dict()
            state["images_per_batch"] = self._images_per_batch(trainer)
            state["batches"] = int(trainer.num_training_batches)
        return state

    def _images_per_batch(self, trainer: pl.Trainer) -> int:
        """Of all processes together."""
        return self.batch_size * trainer.world_size

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the order and augmentation of the run that was saved, however this one is seeded.

        Lightning also restores the training loader, but only if it is made after `on_fit_start`, and whoever asks for
        `trainer.estimated_stepping_batches` has it made before.

        Raises:
            SparsityError: If a fit is to go on in mid-epoch with batches of another size, counted over all processes.
        """
        if self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self._compare_batches(self.trainer, state_dict)
        if self.order_seed is None:
            self.seed = state_dict["seed"]
        self._position = state_dict.get("position")
        self._restarted = state_dict.get("restarted")

    def _compare_batches(self, trainer: pl.Trainer, state_dict: dict[str, Any]) -> None:
        now = self._images_per_batch(trainer)
        saved = state_dict.get("images_per_batch", now)
        if saved == now:
            return
        change = f"the run was saved with batches of {saved} images and goes on with {now}, over all processes"
        if state_dict["position"]["batches_done"] % state_dict["batches"]:
            keep = (
                f"--data.batch_size {saved // trainer.world_size}"
                if saved % trainer.world_size == 0
                else f"a number of processes that divides {saved}"
            )
            raise SparsityError(f"{change}, so its place in mid-epoch cannot be kept; go on with {keep}")
        rank_zero_warn(f"{change}: it will have other steps than if it had not been interrupted")


def _loaded(images: InMemoryImages | None, stage: str) -> InMemoryImages:
    if images is None:
        raise SparsityError(f"no images are loaded yet; call setup({stage!r}) first")
    return images
