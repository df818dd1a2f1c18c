"""Anybody's network in anybody's LightningModule, under every pruner: pruned exactly, or refused and left as it was."""

import io
import logging
import traceback
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from hypothesis import given
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.loggers import Logger
from torch import Tensor, nn
from typing_extensions import override

from sparsity.callbacks import DensityMonitor, KeepMasks, PruningCallback
from sparsity.callbacks.network import network_of
from sparsity.errors import NonFiniteError, SparsityError
from sparsity.masks import SUFFIX, kept, maskable, masked, matrix_weights, sizes
from tests.callbacks.test_every_pruner import PRUNERS
from tests.fuzz.conftest import cases
from tests.fuzz.strangers import TRAINERS, Case, averaging, cases_of_strangers, make_loader, make_module


class Remembered(Logger):
    """Keeps the last value of everything that is logged."""

    name = "remembered"
    version = 0

    def __init__(self) -> None:
        super().__init__()
        self.last: dict[str, float] = {}

    @override
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.last |= metrics

    @override
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        pass


def make_pruner(case: Case) -> KeepMasks:
    """The pruner of a case, with its density."""
    if case.pruner == "KeepMasks":
        return KeepMasks()
    made = PRUNERS[case.pruner]
    assert isinstance(made, partial)
    return made.func(case.density, *made.args[1:], **made.keywords)  # type: ignore[no-any-return]


def state(module: nn.Module) -> dict[str, Tensor]:
    """Everything but masks, of what there is already."""
    found = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    there = {n: t for n, t in found.items() if not n.endswith(SUFFIX) and not nn.parameter.is_lazy(t)}
    return {name: tensor.detach().clone() for name, tensor in there.items()}


def fit(case: Case, module: pl.LightningModule, pruner: KeepMasks) -> str:
    """Fit once and check what came of it."""
    before, logger, hooks, modes = state(module), Remembered(), hooks_of(module), modes_of(module)
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=case.epochs, logger=logger,
        callbacks=[pruner, DensityMonitor(), *averaging(case)],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, log_every_n_steps=1, **TRAINERS.get(case.trainer, {}),
    )  # fmt: skip
    loader = make_loader(case)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            trainer.fit(module, loader, loader if case.validates else None)
        except NonFiniteError:
            return "diverged"
        except (SparsityError, MisconfigurationException) as error:
            refusal = str(error)
        else:
            refusal = ""
    if "so the search ends here" in refusal:  # which no search knows before
        return "stopped"
    if refusal:
        assert trainer.global_step == 0, f"refused after {trainer.global_step} steps: {refusal}"
        after = state(module)
        changed = [n for n, t in before.items() if n not in after or not torch.equal(t, after[n])]
        assert not changed, f"refused, but {changed} changed: {refusal}"
        return "refused"
    said = [str(warning.message) for warning in caught]
    network = network_of(module)
    has_its_density(network, pruner, said)
    nothing_else_is_zero(module, before)
    new = [hook for hook in hooks_of(module) if hook not in hooks and f"module {hook[0]}" in modes]
    assert not new, f"hooks stay: {new}"
    changed = [name for name, mode in modes_of(module).items() if modes.get(name, mode) != mode]
    assert not changed, f"trains, or is in training mode, as it was not: {changed}"
    failed = [sentence for sentence in said if "DensityMonitor failed" in sentence]
    assert not failed, failed[0]
    if masked(network) and (not isinstance(pruner, PruningCallback) or pruner.is_final):
        counts = {f"kept/{name}": count for name, count in kept(network).items()}
        counts["kept/network"] = sum(counts.values())
        assert counts.items() <= logger.last.items(), "the monitor logged other numbers"
    return "ran"


def hooks_of(module: nn.Module) -> dict[tuple[str, str, int], Any]:
    """All that is called when modules within a module run or are loaded."""
    return {
        (name, kind, key): hook
        for name, inner in module.named_modules()
        for kind in vars(inner)
        if kind.endswith("hooks")
        for key, hook in vars(inner)[kind].items()
    }


def modes_of(module: nn.Module) -> dict[str, bool]:
    """Which modules are in training mode, and which parameters train."""
    modes = {f"module {name}": inner.training for name, inner in module.named_modules()}
    return modes | {name: parameter.requires_grad for name, parameter in module.named_parameters()}


def has_its_density(network: nn.Module, pruner: KeepMasks, said: list[str]) -> None:
    """Pruned weights are zero, of averages too, and as many are kept as were asked for, or a warning says why not."""
    for name, module in network.named_modules():
        for key, mask in module._buffers.items():
            parameter = key.removesuffix(SUFFIX)
            # That of torch.nn.utils.prune is of floats.
            if mask is not None and mask.dtype == torch.bool and parameter != key and parameter in module._parameters:
                assert not module.get_parameter(parameter)[~mask].any(), f"pruned weights of {name} are not zero"
    if not isinstance(pruner, PruningCallback):
        return
    if not pruner.is_final:
        assert any("the run ended before" in sentence for sentence in said), "not final, and nothing says so"
        return
    left_out = {name for name, place in maskable(network).items() if place.is_excluded}
    assert masked(network).keys() == maskable(network).keys() - left_out, "a layer has no mask"
    count, total = sum(kept(network).values()), sum(sizes(network).values())
    assert count == round(pruner.density * total), f"{count} of {total} weights are kept, not {pruner.density:g}"


def nothing_else_is_zero(module: nn.Module, before: dict[str, Tensor]) -> None:
    """Weights without a mask have no more zeros than they had."""
    covered = {
        id(m._parameters[key.removesuffix(SUFFIX)])
        for m in module.modules()
        for key, mask in m._buffers.items()
        if mask is not None and key.removesuffix(SUFFIX) in m._parameters
    }
    for name, weight in matrix_weights(module).items():
        if id(weight) not in covered and name in before:
            zeros = int((weight == 0).sum()), int((before[name] == 0).sum())
            assert zeros[0] <= zeros[1], f"{name} has no mask, and {zeros[0]} zeros where it had {zeros[1]}"


def play(case: Case) -> str:
    """Make and fit what a case says, and say what came of it.

    Raises:
        AssertionError: With the case, and in its last line what was not as promised.
    """
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _play(case)
    except Exception as error:
        trace = "" if isinstance(error, AssertionError) else traceback.format_exc()
        raise AssertionError(f"{case}\n{trace}\n{type(error).__name__}: {' '.join(str(error).split())}") from None
    finally:
        logging.disable(logging.NOTSET)


def _play(case: Case) -> str:
    torch.manual_seed(case.seed)
    pruner = make_pruner(case)
    try:
        module = make_module(case)
        outcome = fit(case, module, pruner)
        if case.again and outcome == "ran":
            outcome = fit(case, module if case.again == "same" else make_module(case), pruner)
    except AssertionError:
        raise
    except SparsityError:
        return "refused"
    except Exception:
        if trains_without_us(case):
            raise
        return "fails in torch"
    return outcome


def trains_without_us(case: Case) -> bool:
    """Whether a fit of the same network with no callback and in a module of its own goes well."""
    case = replace(case, module="own")
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=case.epochs, logger=False, callbacks=averaging(case), enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **TRAINERS.get(case.trainer, {}),
    )  # fmt: skip
    try:
        trainer.fit(make_module(case), make_loader(case))
    except Exception:
        return False
    return True


@cases
@given(case=cases_of_strangers())
def test_strangers(case: Case, tally: Callable[[Callable[[], str]], None]) -> None:
    tally(lambda: play(case))
