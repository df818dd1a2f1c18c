"""What can be done with a network: one function for each column of the table in `docs/networks.md`.

A function returns nothing where all is as it should be. What the package refuses is a `SparsityError`, which is a cell
of the table; anything else that is raised is a fault.
"""

import contextlib
import io
import math
from functools import cached_property
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from sparsity.analysis.topology.network import summary, topology
from sparsity.callbacks import KeepMasks, MaskFrom, PruningCallback, RigL, SparseCheckpoint, SynFlow
from sparsity.cli import main
from sparsity.errors import SparsityError
from sparsity.forward.tensors import logits_of
from sparsity.graph.sample import own_sample
from sparsity.interop import load_network
from sparsity.masks import add_masks, kept, masked, sizes
from tests.callbacks.test_every_pruner import PRUNERS
from tests.graph.test_multiply_adds import counted
from tests.networks_of_the_field import FIELD, RATE, Samples, classifier

DENSITY = 0.2
EPOCHS = 4
EVERY_PRUNER = [name for name, make in PRUNERS.items() if type(make()).__name__ == name]


class Journey:
    """One network on its way from training to a report.

    Args:
        name: In `FIELD`.
        folder: Where it may write.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.network = FIELD[name]

    @property
    def is_of_a_classifier(self) -> bool:
        return self.network.module is classifier

    def trainer(self, *callbacks: pl.Callback, epochs: int = EPOCHS, folder: str = "python") -> pl.Trainer:
        return pl.Trainer(
            max_epochs=epochs, callbacks=list(callbacks), accelerator="cpu", logger=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=self.folder / folder,
            enable_checkpointing=any(isinstance(callback, SparseCheckpoint) for callback in callbacks),
        )  # fmt: skip

    def trained(self, pruner: PruningCallback, seed: int = 1, epochs: int = EPOCHS, *others: pl.Callback) -> nn.Module:
        """The network, pruned and trained in Python."""
        torch.manual_seed(seed)
        module = self.network.module(self.network.make())
        self.trainer(pruner, *others, epochs=epochs).fit(module, datamodule=Samples(self.name))
        return module.network

    def run(self, seed: int) -> Path:
        """A run folder of it: from the command line, or of a LightningModule that the command line does not know."""
        runs = self.folder / f"seed_{seed}"
        if self.is_of_a_classifier:
            command(*self.fit_arguments(runs, seed), "--test_after_fit", "true")
        else:
            torch.manual_seed(seed)
            module = self.network.module(self.network.make())
            saved = SparseCheckpoint("val/loss", "min")
            self.trainer(SynFlow(DENSITY, iterations=5), saved, epochs=2, folder=runs.name).fit(
                module, datamodule=Samples(self.name)
            )
        return runs / "lightning_logs" / "version_0"

    def fit_arguments(self, runs: Path, seed: int, epochs: int = 2) -> list[object]:
        return [
            "fit", "--model.network", self.network.path, "--model.optimizer", "SGD", "--model.optimizer.lr", RATE,
            *self.data_arguments, "--seed_everything", seed,
            "--pruner", "SynFlow", "--pruner.density", DENSITY, "--pruner.iterations", 5,
            "--trainer.max_epochs", epochs, "--trainer.default_root_dir", runs,
            "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.callbacks", "null",
        ]  # fmt: skip

    @property
    def data_arguments(self) -> list[object]:
        return ["--data", "tests.networks_of_the_field.Samples", "--data.network", self.name]

    @property
    def network_arguments(self) -> list[object]:
        """Of a network that is not ours, and what it takes."""
        return ["--network", self.network.path, *self.shape_arguments]

    @property
    def shape_arguments(self) -> list[object]:
        """What a network takes that does not say so itself."""
        said = own_sample(self.network.make()) is not None
        return [] if said else ["--input_shape", str(list(self.network.sample().shape[1:]))]

    @cached_property
    def first_run(self) -> Path:
        return self.run(1)

    @cached_property
    def second_run(self) -> Path:
        return self.run(2)


def command(*arguments: object) -> str:
    """What the command line says; what it refuses is raised."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            if stop.code not in (0, None):
                raise SparsityError(err.getvalue().partition("error: ")[2].strip()) from stop
    return out.getvalue() + err.getvalue()


def fit(journey: Journey) -> None:
    """Whether every pruner keeps exactly what it was asked for, and all else stays zero while the rest trains."""
    for name in EVERY_PRUNER:
        require_exact(journey.trained(PRUNERS[name]()))
    require_exact(journey.trained(MaskFrom(str(journey.first_run / "checkpoints" / "last.ckpt"))))


def require_exact(network: nn.Module) -> None:
    assert sum(kept(network).values()) == round(DENSITY * sum(sizes(network).values()))
    for name, place in masked(network).items():
        assert not place.weight[~place.mask].any(), name
        assert place.weight.isfinite().all(), name


def dense(journey: Journey) -> None:
    """Whether all of a dense network is effective, and its products are what torch counts."""
    network, sample = journey.network.make().eval(), journey.network.sample(journey.network.pixels)
    add_masks(network)
    found = summary(topology(network, sample))
    assert (found["effective_density"], found["dead"]) == (1, 0)
    assert found["flops_dense"] == counted(network, *positional(sample))


def positional(sample: Any) -> tuple[Tensor, ...]:
    """A sample by place; of one that is by name the first alone, where the others only say what is there anyway."""
    if isinstance(sample, dict):
        return (next(iter(sample.values())),)
    return sample if isinstance(sample, tuple) else (sample,)


def analyze(journey: Journey) -> None:
    """The command, on one run."""
    command("analyze", journey.first_run, *journey.network_arguments, "--output", journey.folder / "analysis")
    assert (journey.folder / "analysis" / "summary.json").is_file()


def compare(journey: Journey) -> None:
    """The command, on two seeds, units matched along the forward pass."""
    command(
        "analyze", journey.first_run, journey.second_run, "--names", "first", "second", "--align", "propagate",
        *journey.network_arguments, "--output", journey.folder / "comparison", "--figures", "none",
    )  # fmt: skip
    assert (journey.folder / "comparison" / "distances.csv").is_file()


def report(journey: Journey) -> None:
    """The command, on one run; of a module that the command line does not know, on its checkpoint."""
    if journey.is_of_a_classifier:
        what = [journey.first_run, "--trust_config", "true", *journey.shape_arguments]
    else:
        what = [journey.first_run / "checkpoints" / "last.ckpt", *journey.network_arguments]
    command("report", *what, "--output", journey.folder / "page")
    assert (journey.folder / "page" / "index.html").is_file()


class StopAfter(pl.Callback):
    """Ends a fit early."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 == self.epochs


def resume(journey: Journey) -> None:
    """Whether a fit that was interrupted ends as the one that was not."""
    whole = journey.trained(RigL(DENSITY, interval=3))
    saved = SparseCheckpoint("val/loss", "min")
    torch.manual_seed(1)
    module = journey.network.module(journey.network.make())
    journey.trainer(RigL(DENSITY, interval=3), saved, StopAfter(2)).fit(module, datamodule=Samples(journey.name))
    torch.manual_seed(5)
    other = journey.network.module(journey.network.make())
    journey.trainer(RigL(DENSITY, interval=3), SparseCheckpoint("val/loss", "min")).fit(
        other, datamodule=Samples(journey.name), ckpt_path=saved.last_model_path
    )
    require_equal(other.network, whole)
    if journey.is_of_a_classifier:
        runs = journey.folder / "resumed"
        command(*journey.fit_arguments(runs, 1, epochs=1))
        command(*journey.fit_arguments(runs, 1), "--ckpt_path", "last")
        require_equal(
            load_network(runs / "lightning_logs" / "version_1" / "checkpoints" / "last.ckpt", network=whole),
            load_network(journey.first_run / "checkpoints" / "last.ckpt", network=whole),
        )


def require_equal(found: nn.Module, expected: nn.Module) -> None:
    other = expected.state_dict()
    assert found.state_dict().keys() == other.keys()
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor, other[name]), name


def tested(journey: Journey) -> None:
    """A Trainer's test of a checkpoint, in Python and from the command line."""
    checkpoint = journey.first_run / "checkpoints" / "last.ckpt"
    module = journey.network.module(journey.network.make())
    (found,) = journey.trainer(KeepMasks()).test(
        module, datamodule=Samples(journey.name), ckpt_path=checkpoint, verbose=False
    )
    assert math.isfinite(found["test/loss"])
    if journey.is_of_a_classifier:
        said = command(
            "test", "--model.network", journey.network.path, *journey.data_arguments, "--ckpt_path", checkpoint,
            "--trainer.accelerator", "cpu", "--trainer.default_root_dir", journey.folder / "test",
        )  # fmt: skip
        assert "test/accuracy" in said


def reload(journey: Journey) -> None:
    """Whether a checkpoint gives the same network again."""
    checkpoint = journey.first_run / "checkpoints" / "last.ckpt"
    module = journey.network.module(journey.network.make())
    # As Lightning restores it, which knows nothing of `load_network`.
    trainer = journey.trainer(KeepMasks())
    trainer.validate(module, datamodule=Samples(journey.name), ckpt_path=checkpoint, verbose=False)
    require_same(load_network(checkpoint, network=journey.network.make()), module.network, journey.network.sample())


def require_same(found: nn.Module, expected: nn.Module, sample: Any) -> None:
    """Equal outputs, and as many weights as were asked for."""
    require_exact(found)
    # A convolution adds up in another order where the channels are last.
    found, expected = (network.eval().to(memory_format=torch.contiguous_format) for network in (found, expected))
    with torch.no_grad():
        assert torch.equal(output(found, sample), output(expected, sample))


def output(network: nn.Module, sample: Any) -> Tensor:
    if isinstance(sample, dict):
        return logits_of(network(**sample))
    return logits_of(network(*sample) if isinstance(sample, tuple) else network(sample))


COLUMNS = {
    "dense": dense, "fit": fit, "analyze": analyze, "compare": compare, "report": report, "resume": resume,
    "test": tested, "reload": reload,
}  # fmt: skip
"""By the heading in the table."""


def cell(column: str, journey: Journey) -> str:
    """`works`, or the sentence with which the package refuses."""
    try:
        COLUMNS[column](journey)
    except SparsityError as error:
        return str(error).replace(f"{journey.folder}/", "").replace("|", "\\|")
    return "works"
