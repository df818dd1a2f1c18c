"""A module's own `training_step` as a loss before training, after which nobody can tell that it was evaluated."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from inspect import signature
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers.logger import DummyLogger
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor

from sparsity.callbacks.network import network_of
from sparsity.errors import SparsityError
from sparsity.forward.passes import substituted
from sparsity.forward.restoring import restored
from sparsity.graph.sample import Given
from sparsity.pruning.saliency import Loss, Mode
from sparsity.seeding import unmoved_randomness
from sparsity.trainer.internals import step_arguments

_HOOKS = ("on_fit_start", "on_train_start", "on_train_epoch_start", "on_train_batch_start")
"""What a module may do of its own before its first step."""


@contextmanager
def training_step_loss(
    trainer: pl.Trainer, module: pl.LightningModule, batch: Any, mode: Mode = "train"
) -> Iterator[Loss]:
    """What `training_step` returns for a batch, with all else that it does put aside.

    It is evaluated in the modes that the module has, or in evaluation mode, and in full precision also where training
    mixes precisions: without a scaler the gradients of half precision vanish. What it logs goes nowhere; the module and
    the batch are `restored` in the end. Where the step fails and the module has hooks that come before it, those are
    called first.

    Args:
        trainer: In a fit that has not begun.
        module: Of the fit, with automatic optimisation.
        batch: On the device.
        mode: `train` for the modes that the module has, each part its own; `eval` for all parts in evaluation mode.

    Yields:
        The loss; raises SparsityError if there is none.

    Raises:
        SparsityError: If the module optimises by hand.
    """
    if not module.automatic_optimization:
        raise SparsityError(
            f"{type(module).__name__} optimises by hand, so its training_step gives no loss to score weights on; use a "
            "pruner without data, such as SynFlow or Magnitude"
        )
    network, modes = network_of(module), {part: part.training for part in module.modules()}
    parameters = list(network.parameters())
    with ExitStack() as until_scored:
        until_scored.enter_context(unmoved_randomness())
        until_scored.enter_context(restored(module, batch))
        until_scored.enter_context(_unlogged(trainer, module))
        hooks = _hooks_before_step(trainer, module, batch)

        def loss() -> Tensor:
            for part, training in modes.items():
                part.training = training and mode == "train"
            # A weight of the network may have other places in the module.
            stand_ins: dict[Tensor, Tensor] = dict(zip(parameters, network.parameters(), strict=True))
            until_scored.enter_context(substituted(module, stand_ins))
            try:
                with _full_precision(trainer):
                    for hook in hooks:
                        hook()
                    output = module.training_step(*step_arguments(trainer, batch))
            except (SparsityError, torch.OutOfMemoryError):
                raise
            except Exception as error:  # a training step is the user's code
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise SparsityError(
                    f"weights are scored on batches of (images, class indices) or else on the module's training_step, "
                    f"and {type(module).__name__}.training_step cannot be evaluated before training: {reason}"
                ) from error
            return _loss_in(output, type(module).__name__)

        yield loss


def input_in_training_step(trainer: pl.Trainer, module: pl.LightningModule, batch: Any) -> Given:
    """What `training_step` makes of a batch for the network, which may take several inputs, or some of a dictionary.

    Args:
        trainer: In a fit that has not begun.
        module: Of the fit.
        batch: On the device.

    Returns:
        As `sparsity.graph.sample` takes it; None if the step fails before, optimises by hand, or calls no `forward`.
    """
    network = network_of(module)
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    with suppress(SparsityError), training_step_loss(trainer, module, batch) as loss:
        network.register_forward_pre_hook(lambda _, args, kwargs: calls.append((args, kwargs)), with_kwargs=True)
        loss()
    if not calls:
        return None
    args, by_name = calls[0]
    if not by_name:
        return args
    # Given labels, Hugging Face's networks say the loss as well, which no other output is made of.
    named = {**dict(zip(signature(network.forward).parameters, args, strict=False)), **by_name}
    return {name: value for name, value in named.items() if name != "labels" and value is not None}


def _loss_in(output: Any, name: str) -> Tensor:
    value = output.get("loss") if isinstance(output, Mapping) else output
    if not isinstance(value, Tensor):
        raise SparsityError(
            f"{name}.training_step returns no loss for the first batch but {type(value).__name__}; return a tensor, or "
            "a dictionary with a 'loss'"
        )
    return value


@contextmanager
def _unlogged(trainer: pl.Trainer, module: pl.LightningModule) -> Iterator[None]:
    """Let everything that is logged go nowhere. The module has to be `restored`."""
    loggers = trainer.loggers
    trainer.loggers = [DummyLogger() for _ in loggers]
    vars(module).update(log=_to_nobody, log_dict=_to_nobody)
    try:
        yield
    finally:
        trainer.loggers = loggers


def _to_nobody(*_: Any, **__: Any) -> None:
    """Log nothing."""


@contextmanager
def _full_precision(trainer: pl.Trainer) -> Iterator[None]:
    with (
        trainer.precision_plugin.train_step_context(),
        torch.autocast(trainer.strategy.root_device.type, enabled=False),
    ):
        yield


def _hooks_before_step(trainer: pl.Trainer, module: pl.LightningModule, batch: Any) -> list[Callable[[], Any]]:
    """The hooks that training would call before the first step, if the module has some and the step needs them."""
    own = [name for name in _HOOKS if is_overridden(name, module)]
    if not own:
        return []
    try:
        with restored(module, batch), _full_precision(trainer):
            module.training_step(*step_arguments(trainer, batch))
    except Exception:  # for the same reason it fails again, or it needs them
        return [partial(getattr(module, name), *((batch, 0) if "batch" in name else ())) for name in own]
    return []
