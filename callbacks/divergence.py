"""A training that diverged stops at once, says where, and never replaces a good checkpoint."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor
from typing_extensions import override

from sparsity.callbacks.network import network_of
from sparsity.errors import NonFiniteError
from sparsity.forward.non_finite import first_non_finite
from sparsity.forward.passes import unchanged


class StopOnDivergence(Callback):
    """Ends a fit whose loss is NaN or infinite and names the layer where that began.

    On a CPU it looks at every loss before it reaches the weights. Elsewhere that would let the device wait at every
    step, so it looks every `trainer.log_every_n_steps` steps. A loss scaler skips steps whose gradients overflow,
    which is no error; a loss that is not finite itself is one under a scaler, too. To find the layer, the step's
    forward pass runs once more, under automatic optimisation only: a module's own steps would move its weights.

    Example:
        >>> trainer = pl.Trainer(callbacks=[StopOnDivergence()])
    """

    def __init__(self) -> None:
        self._interval = 1
        self._scaled = False
        self._batch: Any = None
        self._batch_idx = 0
        self._diagnoses = False

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        on_cpu = trainer.strategy.root_device.type == "cpu"
        self._interval = 1 if on_cpu else max(1, trainer.log_every_n_steps)  # type: ignore[attr-defined]
        self._scaled = getattr(trainer.precision_plugin, "scaler", None) is not None

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._batch, self._batch_idx = batch, batch_idx

    @override
    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        if not self._scaled and not self._diagnoses:  # times its factor a good loss may be infinite
            self._require_finite(trainer, pl_module, loss)

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if self._scaled and isinstance(loss, Tensor):
            self._require_finite(trainer, pl_module, loss)
        self._batch = None

    def _require_finite(self, trainer: pl.Trainer, module: pl.LightningModule, loss: Tensor) -> None:
        if self._interval > 1 and trainer.global_step % self._interval:
            return
        value = loss.detach().item()  # an isfinite of torch's takes ten times as long as one of Python's
        if math.isfinite(value):
            return
        raise NonFiniteError(
            f"training diverged: the loss is {value:g} in epoch {trainer.current_epoch} at step "
            f"{trainer.global_step}{self._where(trainer, module)}; lower the learning rate or set "
            "trainer.gradient_clip_val"
        )

    def _where(self, trainer: pl.Trainer, module: pl.LightningModule) -> str:
        """Where it began, as the end of a clause."""
        network, hook = network_of(module), module.training_step
        arguments = (
            (self._batch, self._batch_idx)
            if is_param_in_hook_signature(hook, "batch_idx", min_args=2)
            else (self._batch,)
        )
        step = partial(hook, *arguments) if module.automatic_optimization else None
        self._diagnoses = True
        try:
            with unchanged(network):
                return f", where {first_non_finite(network, step, trainer.precision_plugin.forward_context)}"
        except Exception:  # anybody's training step, called once more
            return f", where {first_non_finite(network)}"
        finally:
            self._diagnoses = False

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._batch = None
