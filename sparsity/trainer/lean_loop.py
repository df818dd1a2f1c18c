"""Lightning's training epoch without the bookkeeping for hooks that nobody overrides.

Whatever the network, a step of Lightning 2.6 costs half a millisecond of Python, most of it for calling some hundred
hooks that do nothing: a third of the time of a small network on MNIST. Where nothing but callbacks takes part, this
loop does what Lightning's does, in the same order and with the same counters, and calls only what somebody wrote.
Everywhere else, and in any other version of Lightning, it *is* Lightning's.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.core.hooks import DataHooks
from pytorch_lightning.loops.fetchers import _DataFetcher, _PrefetchDataFetcher
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from typing_extensions import override

from sparsity.classifier import SparseClassifier
from sparsity.trainer.captured import CapturedStep, recorder_of

STEP_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
"""The hooks of a training step that modules and callbacks share, in their order."""

TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device")
"""What a module or a data module may do with a batch before it is on the device."""

MODULE_HOOKS = (
    *STEP_HOOKS,
    "backward",
    "optimizer_zero_grad",
    "optimizer_step",
    "configure_gradient_clipping",
)
"""The methods of a LightningModule through which it takes part in a step, besides `training_step`."""


class LeanEpochLoop(_TrainingEpochLoop):
    """Takes the short way through the steps of an epoch if nothing but callbacks takes part in them."""

    _overridden_hooks: dict[str, list[Callable[..., Any]]] | None = None
    _validates = True
    _captured: CapturedStep | None = None
    _said_uncaptured = False

    @override
    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        super().on_run_start(data_fetcher)
        self._validates = self._should_check_val_epoch()
        self._overridden_hooks = None
        if _only_callbacks_take_part(self.trainer, data_fetcher):
            self._overridden_hooks = _overridden_hooks(self.trainer)
            self._module = self.trainer.lightning_module
            self._device = self.trainer.strategy.root_device
            self._after_transfer = _transfer_hook(self.trainer, "on_after_batch_transfer")
            self._forward_context = _forward_context(self.trainer)
        self._look_at_capturing()

    @override
    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Do one training step."""
        # Right after a restart Lightning has more to decide.
        if self._overridden_hooks is None or self.restarting:
            super().advance(data_fetcher)
            return
        if self.val_loop.restarting:  # setting it looks for loops within
            self.val_loop.restarting = False
        trainer, progress = self.trainer, self.batch_progress

        batch, _, _ = next(data_fetcher)
        number = self.batch_idx + 1
        progress.is_last_batch = data_fetcher.done
        batch = self._after_transfer(self._on_device(batch), 0)
        progress.increment_ready()
        self._expect_logs_of(batch)

        self._call_hooks("on_train_batch_start", batch, number)
        progress.increment_started()
        loss = self._optimize(batch, number)
        progress.increment_processed()
        self.update_lr_schedulers("step", update_plateau_schedulers=False)
        if self._num_ready_batches_reached():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)

        self._call_hooks("on_train_batch_end", {"loss": loss}, batch, number)
        if any(result.meta.on_step for result in self._results.values()):
            trainer._logger_connector.on_batch_end()
            trainer._logger_connector.update_train_step_metrics()
        progress.increment_completed()

    @override
    def teardown(self) -> None:
        super().teardown()
        self._captured = None

    @override
    def _should_check_val_fx(self, data_fetcher: _DataFetcher) -> bool:
        return self._validates and super()._should_check_val_fx(data_fetcher)

    @override
    def _should_accumulate(self) -> bool:
        return self._overridden_hooks is None and super()._should_accumulate()

    def _on_device(self, batch: Any) -> Any:
        # Looking through a batch for tensors costs as much as a layer, and on a CPU there is nothing to move.
        if self._device.type == "cpu" or (type(batch) is tuple and all(_is_on(self._device, part) for part in batch)):
            return batch
        return move_data_to_device(batch, self._device)

    def _look_at_capturing(self) -> None:
        """Capture steps from now on if the module asks for it and that is possible, or say why not."""
        module = self.trainer.lightning_module
        if not getattr(module, "capture", False):
            return
        if self._captured is not None and self._overridden_hooks is not None:
            self._captured.look_again()
            return
        record = recorder_of(self.trainer.strategy.root_device)
        if record is None or self._overridden_hooks is None:
            reason = "this is no GPU" if record is None else "more than callbacks takes part in a step"
            self._captured = None
            if not self._said_uncaptured:
                rank_zero_info(f"capture: steps are not captured as a graph, since {reason}")
                self._said_uncaptured = True
            return
        self._captured = CapturedStep(module, self._loss_and_logits, record)

    def _loss_and_logits(self, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        with self._forward_context():
            found: tuple[Tensor, Tensor] = self._module.loss_and_logits(images, labels)
        return found

    def _expect_logs_of(self, batch: Any) -> None:
        logs, results = self.trainer._logger_connector, self._results
        logs._first_loop_iter = logs._first_loop_iter is None
        results.batch, results.batch_size, results.dataloader_idx = batch, None, None

    def _optimize(self, batch: Any, number: int) -> Tensor:
        module, optimizer = self._module, self.trainer.optimizers[0]
        progress = self.automatic_optimization.optim_progress.optimizer
        last_loss: Tensor

        def clear_gradients() -> None:
            progress.zero_grad.increment_ready()
            self._call_hooks("on_before_zero_grad", optimizer)
            progress.zero_grad.increment_started()
            optimizer.zero_grad()
            progress.zero_grad.increment_completed()

        def done(loss: Tensor) -> Tensor:
            nonlocal last_loss
            self._call_hooks("on_after_backward")
            self._call_hooks("on_before_optimizer_step", optimizer)
            last_loss = loss.detach()
            return last_loss

        def loss_and_gradients() -> Tensor:
            with self._forward_context():
                loss: Tensor = module.training_step(batch, number)
            clear_gradients()
            self._call_hooks("on_before_backward", loss)
            loss.backward()  # type: ignore[no-untyped-call]
            return done(loss)

        def replayed() -> Tensor:
            assert captured is not None
            clear_gradients()  # whose memory a replay writes into
            loss, logits = captured(*batch)
            module.count(loss, logits, batch[1])
            self._call_hooks("on_before_backward", loss)
            captured.give_gradients()
            return done(loss)

        captured = self._captured
        progress.step.increment_ready()
        # A closure, since some optimizers call it several times.
        optimizer.step(replayed if captured is not None and captured.takes(batch) else loss_and_gradients)
        progress.step.increment_completed()
        return last_loss

    def _call_hooks(self, hook: str, *arguments: Any) -> None:
        assert self._overridden_hooks is not None
        if listeners := self._overridden_hooks[hook]:
            module = self._module
            # `self.log` looks here for the hook that it was called in. A module's own `__setattr__` is slow.
            object.__setattr__(module, "_current_fx_name", hook)
            for listener in listeners:
                listener(self.trainer, module, *arguments)
            object.__setattr__(module, "_current_fx_name", None)


def _overridden_hooks(trainer: pl.Trainer) -> dict[str, list[Callable[..., Any]]]:
    """The callbacks' hooks in a step, without those that do nothing."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return {
        hook: [getattr(c, hook) for c in callbacks if getattr(type(c), hook) is not getattr(Callback, hook)]
        for hook in STEP_HOOKS
    }


def _is_on(device: torch.device, part: Any) -> bool:
    return isinstance(part, Tensor) and part.device == device


def _forward_context(trainer: pl.Trainer) -> Callable[[], AbstractContextManager[None]]:
    """What a training step is taken in: autocast, if the precision is mixed."""
    plugin = trainer.precision_plugin
    return nullcontext if type(plugin) is Precision else plugin.forward_context


def _transfer_hook(trainer: pl.Trainer, name: str) -> Callable[..., Any]:
    """The data module's hook, or the module's where that has none of its own, as Lightning chooses."""
    selector = trainer._data_connector._datahook_selector
    assert selector is not None
    hook: Callable[..., Any] = getattr(selector.get_instance(name), name)
    return hook


def _is_lightnings(hook: Callable[..., Any]) -> bool:
    return getattr(hook, "__func__", None) is getattr(DataHooks, hook.__name__)


def _only_callbacks_take_part(trainer: pl.Trainer, data_fetcher: _DataFetcher) -> bool:
    module = type(trainer.lightning_module)
    return (
        all(_is_lightnings(_transfer_hook(trainer, hook)) for hook in TRANSFER_HOOKS)
        and getattr(module, "training_step", None) is SparseClassifier.training_step
        and all(getattr(module, hook) is getattr(pl.LightningModule, hook) for hook in MODULE_HOOKS)
        and type(trainer.strategy) is SingleDeviceStrategy
        and _needs_no_scaling(trainer.precision_plugin)
        and type(trainer.profiler) is PassThroughProfiler  # type: ignore[attr-defined]
        and type(data_fetcher) is _PrefetchDataFetcher
        and trainer.accumulate_grad_batches == 1
        and trainer.gradient_clip_val is None
    )


def _needs_no_scaling(plugin: Precision) -> bool:
    return type(plugin) is Precision or (type(plugin) is MixedPrecision and plugin.scaler is None)
