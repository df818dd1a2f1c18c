"""The LightningModule around any classification network."""

import os
import warnings
from collections.abc import Sequence
from typing import Any, get_args

import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.core.mixins.hparams_mixin import _given_hyperparameters
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parameter import is_lazy
from torch.optim import LBFGS, SGD, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from typing_extensions import Self, override

from sparsity.checkpoints.exported import is_exported
from sparsity.checkpoints.loading import load_network
from sparsity.checkpoints.named import network_named_by, optimizer_named_by, schedule_named_by
from sparsity.checkpoints.reading import read_checkpoint
from sparsity.checkpoints.starting import load_weights
from sparsity.diagnosis import blaming
from sparsity.errors import SparsityError, require_whole_number
from sparsity.forward.labels import NO_LABEL, require_labels
from sparsity.forward.passes import refuse
from sparsity.forward.tensors import logits_of
from sparsity.learning_rate import Interval, scale_to_batch, warmup
from sparsity.masks import add_masks, nonzero_pruned
from sparsity.metrics import ClassificationTotals

Batch = tuple[Tensor, Tensor]
"""Images `[batch, channels, height, width]` and class indices `[batch]`."""

COUNTED_TOGETHER = 100_000
"""Logits of training batches that are counted at once; batch by batch that costs a tenth of a small network's step."""


class SparseClassifier(pl.LightningModule):
    """Trains any network to classify, with masks on its weights.

    Logs loss, top-1 (`accuracy`) and top-5 accuracy once per epoch under `train/`, `val/` and `test/`.

    Args:
        network: Maps images `[batch, channels, height, width]` to logits `[batch, classes]`.
        optimizer: Makes the optimizer from parameters. Default: SGD with lr 0.1.
        lr_scheduler: Makes the learning rate's schedule. Default: constant.
        lr_interval: Whether the schedule counts epochs or optimizer steps.
        warmup_steps: The learning rate rises linearly over so many first steps, besides its schedule; 0 for none.
        lr_batch_size: The learning rate is for steps of so many images, and is scaled in proportion to those that a
            step has on all processes. Default: it is taken as it is.
        label_smoothing: Share of the target spread over all classes, in [0, 1].
        decay_all: Let weight decay act on biases and normalisation layers too, not on weights alone.
        exclude: Names of weights that stay dense and do not count, or patterns of them such as `*.downsample.*`.
        include: The same of weights that are masked besides those that always are, such as embeddings.
        compile: Compile the network with `torch.compile`, which takes tens of seconds.
        channels_last: Store convolutions' weights with the channels last, so that convolutions run in that order; by
            default on a CPU, where they are faster.
        capture: On a GPU, capture a step's forward and backward pass once as a CUDA graph and replay it, which small
            networks gain much by. Python in the network's forward pass is not run again then, as little as under
            `compile`.
        weights: A checkpoint or state dict of the same network, whose weights and masks this one starts from, with
            an optimizer, a schedule and data of its own.

    Raises:
        SparsityError: If the network has nothing to mask, an argument is out of its range, or the weights do not fit.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_interval: Interval = "epoch",
        warmup_steps: int = 0,
        lr_batch_size: int | None = None,
        label_smoothing: float = 0.0,
        decay_all: bool = False,
        exclude: Sequence[str] = (),
        include: Sequence[str] = (),
        compile: bool = False,
        channels_last: bool | None = None,
        capture: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing <= 1:
            raise SparsityError(f"label_smoothing is a fraction in [0, 1], not {label_smoothing}")
        require_whole_number("warmup_steps", warmup_steps, at_least=0)
        if lr_batch_size is not None:
            require_whole_number("lr_batch_size", lr_batch_size, at_least=1)
        if lr_interval not in get_args(Interval):
            raise SparsityError(f"lr_interval is {' or '.join(get_args(Interval))}, not {lr_interval!r}")
        # From the command line these are what the YAML said, and `load_from_checkpoint` rebuilds the network from it;
        # in a script they are objects that do not belong into a checkpoint.
        from_command_line = _given_hyperparameters.get() is not None
        self.save_hyperparameters(ignore=[] if from_command_line else ["network", "optimizer", "lr_scheduler"])
        add_masks(network, exclude, include)
        if weights is not None:
            load_weights(network, weights)
        self.network = network
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.lr_interval = lr_interval
        self.warmup_steps = warmup_steps
        self.lr_batch_size = lr_batch_size
        self.label_smoothing = label_smoothing
        self.decay_all = decay_all
        self.channels_last = channels_last
        self.capture = capture
        if compile:
            self.network.compile()
        if (shape := getattr(network, "input_shape", None)) is not None:
            self.example_input_array = torch.zeros(1, *shape)
        self.train_totals = ClassificationTotals()
        self._uncounted: list[tuple[Tensor, Tensor, Tensor]] = []
        self.val_totals = ClassificationTotals()
        self.test_totals = ClassificationTotals()

    @classmethod
    def load_from_checkpoint(  # type: ignore[override] # in Lightning it is a descriptor of its own
        cls, checkpoint_path: str | os.PathLike[str], *arguments: Any, **given: Any
    ) -> Self:
        """Make the module that a checkpoint was saved of, as Lightning's method of this name does.

        Code in the file is not run: it may name networks of `sparsity.networks`, and optimizers and schedules of
        `torch.optim`. Whatever else there was has to be given.

        Of what `export` wrote as pytorch or safetensors, the network has the sizes that were left.

        Args:
            checkpoint_path: The file.
            arguments: `map_location`, `hparams_file` (which must be None) and `strict`, as Lightning has them.
            given: The same by name, and arguments of the class instead of those in the file, for example `network`.

        Raises:
            SparsityError: If the file cannot be read, or names something else.
        """
        options = dict(zip(("map_location", "hparams_file", "strict", "weights_only"), arguments, strict=False)) | given
        if options.pop("hparams_file", None) is not None:
            raise SparsityError("hparams_file could have code run; pass the arguments in it by name instead")
        if is_exported(checkpoint_path):
            for name in ("strict", "weights_only"):
                options.pop(name, None)
            device = options.pop("map_location", None) or "cpu"
            network = load_network(checkpoint_path, network=options.pop("network", None))
            return cls(network, **options).to(device)
        path = os.fspath(checkpoint_path)
        saved = read_checkpoint(path).get("hyper_parameters")
        for name, named_by in (
            ("network", network_named_by),
            ("optimizer", optimizer_named_by),
            ("lr_scheduler", schedule_named_by),
        ):
            if name not in options:
                options[name] = named_by(saved, path)
        options |= {"weights": None, "weights_only": True, "_instantiator": None}
        module: Self = super().load_from_checkpoint(path, **options)
        return module

    @override
    def setup(self, stage: str) -> None:
        """Check that the data are what the network was made for, and lay it out for the device.

        Raises:
            SparsityError: If both say their input shape or number of classes, and differ.
        """
        data = getattr(self.trainer, "datamodule", None)
        for name in ("input_shape", "num_classes"):
            ours, theirs = getattr(self.network, name, None), getattr(data, name, None)
            if ours is not None and theirs is not None and ours != theirs:
                raise SparsityError(
                    f"{type(data).__name__} has {name} {theirs}, the network {type(self.network).__name__} was made "
                    f"for {ours}; set model.network.{name}"
                )
        on_cpu = self.trainer.strategy.root_device.type == "cpu"
        if on_cpu if self.channels_last is None else self.channels_last:
            for parameter in self.network.parameters():
                # Of Conv3d there are channels, too, in another format; a lazy layer has no axes yet.
                if not is_lazy(parameter) and parameter.ndim == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    @override
    def on_fit_start(self) -> None:
        """Lay the network out in rows again for LBFGS, which cannot look at gradients with the channels last."""
        if any(isinstance(optimizer, LBFGS) for optimizer in self.trainer.optimizers):
            for parameter in self.network.parameters():
                parameter.data = parameter.data.contiguous()

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take float64 weights as they are: Lightning changes the precision only after it has loaded them."""
        if self._trainer is not None and self._trainer.precision == "64-true":
            self.double()

    @override
    def forward(self, images: Tensor) -> Tensor:
        """Map images `[batch, channels, height, width]` to logits `[batch, classes]`."""
        try:
            return logits_of(self.network(images))
        except Exception as error:
            refuse(self.network, images, error)

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = batch
        loss, logits = self.loss_and_logits(images, labels)
        self.count(loss, logits, labels)
        return loss

    def loss_and_logits(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """What is trained, a scalar, and the logits `[batch, classes]`, of a training batch."""
        logits = self(images)
        return _cross_entropy(logits, labels, self.label_smoothing), logits

    def count(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Take a training batch into account in the epoch's means."""
        self._uncounted.append((loss.detach(), logits.detach(), labels))
        if len(self._uncounted) * logits.numel() >= COUNTED_TOGETHER:
            self._count()

    def _count(self) -> None:
        if self._uncounted:
            losses, logits, labels = zip(*self._uncounted, strict=True)
            self._uncounted = []
            lengths = torch.tensor([len(batch) for batch in labels], device=labels[0].device)
            together = torch.cat(labels)
            labelled = (together != NO_LABEL).cumsum(0)[lengths.cumsum(0) - 1].diff(prepend=lengths.new_zeros(1))
            # A batch without any label has the loss NaN.
            loss = torch.where(labelled > 0, torch.stack(losses) * labelled, 0.0).sum() / labelled.sum()
            self.train_totals.update(loss, torch.cat(logits), together)

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, self.val_totals)

    @override
    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, self.test_totals)

    @override
    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Class probabilities `[batch, classes]`."""
        logits: Tensor = self(batch[0])
        return logits.softmax(dim=1)

    def _evaluate(self, batch: Batch, totals: "ClassificationTotals") -> None:
        images, labels = batch
        logits = self(images)
        totals.update(_cross_entropy(logits, labels), logits, labels)

    @override
    def on_train_epoch_end(self) -> None:
        if stray := nonzero_pruned(self.network):
            raise SparsityError(
                f"{stray:,} pruned weights are not zero after epoch {self.current_epoch}, since nothing keeps them "
                "there; give the Trainer a pruner or KeepMasks() among its callbacks, or take the masks away with "
                "remove_masks"
            )
        self._count()
        self._log_means("train", self.train_totals, in_bar="loss")

    @override
    def on_validation_epoch_end(self) -> None:
        self._log_means("val", self.val_totals, in_bar="accuracy")

    @override
    def on_test_epoch_end(self) -> None:
        self._log_means("test", self.test_totals)

    def _log_means(self, stage: str, totals: "ClassificationTotals", in_bar: str = "") -> None:
        for name, value in totals.compute().items():
            # The totals are already summed over ranks; without sync_dist Lightning would warn that they may not be.
            self.log(f"{stage}/{name}", value, prog_bar=name == in_bar, sync_dist=True)
        totals.reset()

    @override
    def configure_optimizers(self) -> Any:
        """Make the optimizer and its schedule.

        Raises:
            SparsityError: If their classes refuse the arguments that they were configured with.
        """
        with blaming("the optimizer or its schedule"):
            if self.lr_scheduler is not None:
                _try_out(self.lr_scheduler(self._make_optimizer()))
            optimizer = self._make_optimizer()
            if self.lr_batch_size is not None:
                scale_to_batch(optimizer, self.trainer, self.lr_batch_size)
            scheduler = self.lr_scheduler(optimizer) if self.lr_scheduler is not None else None
        schedules: list[dict[str, Any]] = []
        if scheduler is not None:
            schedules.append({"scheduler": scheduler, "interval": self.lr_interval})
            if isinstance(scheduler, ReduceLROnPlateau):
                schedules[0]["monitor"] = getattr(scheduler, "monitor", "val/loss")
        if self.warmup_steps:
            rising = warmup(optimizer, self.warmup_steps, scheduler)
            schedules.append({"scheduler": rising, "interval": "step", "name": "warmup"})
        match schedules:
            case []:
                return optimizer
            case [schedule]:
                return {"optimizer": optimizer, "lr_scheduler": schedule}
        return [optimizer], schedules

    def _make_optimizer(self) -> Optimizer:
        make = self.optimizer or _default_optimizer
        optimizer = make(self.parameters())
        if self.decay_all or not optimizer.defaults.get("weight_decay"):
            return optimizer
        weights = [p for p in self.parameters() if p.ndim > 1]
        others = [p for p in self.parameters() if p.ndim <= 1]
        # The names tell their learning rates apart in the log.
        return make(
            [{"params": weights, "name": "weights"}, {"params": others, "name": "undecayed", "weight_decay": 0.0}]
        )


def _cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    try:
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    except (IndexError, RuntimeError, ValueError):
        require_labels(labels, logits)  # looked at only now: it would let a device wait in every step
        raise


def _try_out(scheduler: Any) -> None:
    """Take a step of a schedule that is not used: some arguments make trouble only then, after an epoch of training."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that no weights were trained before
        scheduler.step(0.0) if isinstance(scheduler, ReduceLROnPlateau) else scheduler.step()


def _default_optimizer(parameters: Any) -> Optimizer:
    return SGD(parameters, lr=0.1)
