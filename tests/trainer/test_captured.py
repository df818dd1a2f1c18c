"""Steps that are replayed are the steps that there were: the same losses, gradients, hooks and weights.

Without a GPU there is no graph to replay: `run_again` does what one does, in the memory that it was captured with, by
running the passes once more. Those that need a real one are marked `gpu`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module

from sparsity.callbacks import SynFlow
from sparsity.classifier import SparseClassifier
from sparsity.datamodules import Digits
from sparsity.networks import ResNet
from sparsity.trainer import lean_loop
from sparsity.trainer.captured import CapturedStep, has_global_hooks
from sparsity.trainer.internals import use_lean_loop
from tests.trainer.test_lean_loop import RUNS, Recorder, _fit


def run_again(compute: Callable[[], None]) -> Callable[[], None]:
    """A stand-in for a CUDA graph: what is replayed writes into the memory that it wrote into when it was captured."""
    step: CapturedStep = compute.__self__  # type: ignore[attr-defined]
    parameters = list(step._network.parameters())
    for _ in range(4):
        compute()
    outputs, gradients = step._outputs, [p.grad for p in parameters]

    def replay() -> None:
        before = [p.grad for p in parameters]
        compute()
        for kept, new in zip(outputs, step._outputs, strict=True):
            kept.copy_(new)
        for kept, parameter, earlier in zip(gradients, parameters, before, strict=True):
            if kept is not None:
                assert parameter.grad is not None
                kept.copy_(parameter.grad)
            parameter.grad = earlier
        step._outputs = outputs

    return replay


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of inputs of every replay; steps are captured on a CPU, too."""
    counted: list[int] = []
    replay = CapturedStep.__call__

    def counting(self: CapturedStep, *inputs: Tensor) -> tuple[Tensor, ...]:
        counted.append(len(inputs[0]))
        return replay(self, *inputs)

    monkeypatch.setattr(CapturedStep, "__call__", counting)
    monkeypatch.setattr(lean_loop, "recorder_of", lambda device: run_again)
    return counted


@pytest.mark.parametrize("run", RUNS)
def test_a_captured_fit_is_the_fit_step_by_step(run: str, tmp_path: Path, replays: list[int]) -> None:
    sides = {}
    for captured in (False, True):
        module, *callbacks = RUNS[run]()
        module.capture = captured
        recorder = Recorder()
        trainer = _fit(tmp_path / str(captured), captured, module, *callbacks, recorder, val_check_interval=2)
        metrics = Path(trainer.logger.log_dir, "metrics.csv").read_text()  # type: ignore[union-attr, arg-type]
        sides[captured] = (recorder.heard, trainer.fit_loop.state_dict(), metrics, trainer.callback_metrics), module
    (theirs, their_module), (ours, our_module) = sides[False], sides[True]
    hooks = [heard[0] for heard in ours[0]]
    assert hooks == [heard[0] for heard in theirs[0]]
    assert ours == theirs
    assert set(replays) == {64}  # the last batch of an epoch has 44 images, and is none to capture
    for name, value in their_module.state_dict().items():
        assert torch.equal(value, our_module.state_dict()[name]), name


class Dropping(nn.Module):
    """Draws numbers and keeps running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.last = nn.Linear(4, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.dropout(F.relu(self.norm(self.first(images))), 0.3, self.training)
        found: Tensor = self.last(hidden.mean((2, 3)))
        return found


def _trained(captured: bool, network: nn.Module, *callbacks: pl.Callback, **flags: Any) -> dict[str, Tensor]:
    module = SparseClassifier(network, capture=captured)
    trainer = pl.Trainer(
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=list(callbacks), **{"max_epochs": 3, "accelerator": "cpu", **flags},
    )  # fmt: skip
    use_lean_loop(trainer)
    pl.seed_everything(1, verbose=False)
    trainer.fit(module, datamodule=Digits(batch_size=64, limit=300))
    return module.state_dict()


@pytest.mark.parametrize("flags", [{}, {"precision": "bf16-mixed"}], ids=["float32", "bf16-mixed"])
@pytest.mark.parametrize("make", [Dropping, lambda: ResNet(8, width=2, input_shape=(1, 28, 28))], ids=["own", "ResNet"])
def test_warming_up_leaves_statistics_and_random_numbers_as_they_were(
    make: Callable[[], nn.Module], flags: dict[str, Any], replays: list[int]
) -> None:
    sides = []
    for captured in (False, True):
        torch.manual_seed(0)
        sides.append(_trained(captured, make(), SynFlow(0.3, iterations=2), **flags))
    assert replays
    for name, value in sides[0].items():
        assert torch.equal(value, sides[1][name]), name


class Meddling(pl.Callback):
    """Changes something in the middle of a fit that a graph takes for granted."""

    def __init__(self, change: Callable[[nn.Module], Any]) -> None:
        self.change = change

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, number: int) -> None:
        if trainer.global_step == 7:
            self.change(pl_module.network)  # type: ignore[arg-type]


def _freeze(network: Any) -> None:
    network.first.weight.requires_grad_(False)


def _replace(network: Any) -> None:
    network.last.weight = nn.Parameter(network.last.weight.detach() * 0.5)


def _replace_in_place(network: Any) -> None:
    network.last.weight = nn.Parameter(network.last.weight.data)


def _move(network: Any) -> None:
    network.first.weight.data = network.first.weight.detach().clone()


def _evaluate(network: Any) -> None:
    network.norm.eval()


def _hook(network: Any) -> None:
    network.first.register_forward_hook(lambda module, given, output: output * 0.5)


def _hook_on_a_weight(network: Any) -> None:
    network.first.weight.register_hook(lambda gradient: gradient * 0.5)


@pytest.mark.parametrize("change", [_freeze, _replace, _replace_in_place, _move, _evaluate, _hook, _hook_on_a_weight])
def test_what_changes_in_the_middle_is_noticed(change: Callable[[nn.Module], Any], replays: list[int]) -> None:
    sides = []
    for captured in (False, True):
        torch.manual_seed(0)
        sides.append(_trained(captured, Dropping(), Meddling(change)))
    assert replays
    for name, value in sides[0].items():
        assert torch.equal(value, sides[1][name]), name


def test_what_cannot_be_captured_goes_on_as_ever_and_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(compute: Callable[[], None]) -> Callable[[], None]:
        compute()
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(lean_loop, "recorder_of", lambda device: refuse)
    torch.manual_seed(0)
    eager = _trained(False, Dropping())
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="operation by operation: operation not permitted when stream is capturing$"):
        captured = _trained(True, Dropping())
    for name, value in eager.items():
        assert torch.equal(value, captured[name]), name


def test_without_a_gpu_nothing_is_captured_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        _trained(True, Dropping(), max_epochs=2)
    assert [m for m in caplog.messages if "captured" in m] == [
        "capture: steps are not captured as a graph, since this is no GPU"
    ]


def test_a_step_with_more_in_it_than_callbacks_is_not_captured_and_that_is_said(
    caplog: pytest.LogCaptureFixture, replays: list[int]
) -> None:
    with caplog.at_level("INFO"):
        _trained(True, Dropping(), max_epochs=2, gradient_clip_val=1.0)
    assert not replays
    assert [m for m in caplog.messages if "captured" in m] == [
        "capture: steps are not captured as a graph, since more than callbacks takes part in a step"
    ]


@pytest.mark.parametrize(
    "register",
    [
        module.register_module_forward_pre_hook,
        module.register_module_forward_hook,
        module.register_module_full_backward_pre_hook,
        module.register_module_full_backward_hook,
    ],
)
def test_hooks_of_all_modules_are_seen(register: Callable[..., Any]) -> None:
    assert not has_global_hooks()
    handle = register(lambda *_: None)
    assert has_global_hooks()
    handle.remove()
    assert not has_global_hooks()
