"""A fit from the command line: its folder, what to say when it ends early, and its summary when it is done."""

import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.utilities import rank_zero_only
from typing_extensions import override

from sparsity.atomic import write_atomically
from sparsity.callbacks import PruningCallback, TopologyAnalysis
from sparsity.callbacks.samples import known_sample
from sparsity.checkpoints.reading import read_checkpoint
from sparsity.classifier import SparseClassifier
from sparsity.diagnosis import cannot_write, is_of_the_disk, signal_behind
from sparsity.distributed import lost_another
from sparsity.errors import NonFiniteError, SparsityError
from sparsity.forward.float32 import Products
from sparsity.runs.claiming import claim_run_folder, run_folder, runs_folder
from sparsity.runs.folder import RunFolder
from sparsity.runs.summary import RunSummary


class SaveConfig(SaveConfigCallback):
    """Saves the complete config of a fit in its own folder."""

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        run_folder(trainer)  # asks all processes, and only one saves
        super().setup(trainer, pl_module, stage)

    @override
    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if (folder := run_folder(trainer)) is not None:
            self.parser.save(self.config, str(folder.config_file), skip_unset=False, multifile=False)


class Fit:
    """One fit.

    Args:
        trainer: That has not started.
        resumed: The checkpoint that it goes on from, if it does.
        products: How coarse products of float32 numbers may be in it.
    """

    def __init__(self, trainer: pl.Trainer, resumed: str | None, products: Products) -> None:
        self._trainer = trainer
        self._resumed = resumed
        self._products = products
        self._seconds = 0.0

    def run(self, **arguments: Any) -> None:
        """Fit; one that fails before its first step leaves no run folder behind.

        Args:
            arguments: Of `Trainer.fit`.

        Raises:
            SparsityError: With the way to go on, if the disk is full or another process has ended.
        """
        start = time.perf_counter()
        own: list[Path] = []
        try:
            own = claim_run_folder(self._trainer)
            self._trainer.fit(**arguments)
            self._seconds = time.perf_counter() - start
        except BaseException as error:
            if self._trainer.global_step == 0 and own:
                RunFolder(own[0]).remove_if_unused(own)
            if isinstance(error, OSError) and is_of_the_disk(error):
                what = error.filename or f"the log in {own[0] if own else runs_folder(self._trainer)}"
                raise SparsityError(f"{cannot_write(error, what)}; {self._how_to_go_on()}") from error
            if isinstance(error, NonFiniteError) and own and self._trainer.global_step > 0:
                write_atomically(RunFolder(own[0]).ended_early_file, f"{error}\n")
            if isinstance(error, NonFiniteError) and (saved := self._last_saved()):
                raise NonFiniteError(f"{error}; {saved} was saved before") from error
            if lost_another(error):
                raise SparsityError(f"another process of this fit has ended; {self._how_to_go_on()}") from error
            if number := signal_behind(error):
                print(f"ended by {number.name}; {self._how_to_go_on()}", file=sys.stderr)
                sys.exit(128 + number)
            raise

    def _last_saved(self) -> str | None:
        path = getattr(self._trainer.checkpoint_callback, "last_model_path", "") or self._resumed
        return path if path and Path(path).exists() else None

    def _how_to_go_on(self) -> str:
        saved = self._last_saved()
        return f"--ckpt_path {saved} goes on from there" if saved else "nothing was saved yet, so start anew"

    def conclude(
        self,
        model: SparseClassifier,
        pruner: PruningCallback | None,
        seed: int | None,
        tested: pl.LightningDataModule | None,
    ) -> None:
        """Write the run's summary, and say in one line what came out.

        Args:
            model: As it was trained.
            pruner: Of the run, if it has one.
            seed: Of everything.
            tested: Whose test images the best and the last checkpoint are tested on, if they are.
        """
        if self._trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        accuracies: dict[str, float] = {}
        if tested is not None:
            # Without checkpoints the network at hand is the last.
            saved = _saved_checkpoints(self._trainer, self._resumed) or {"last": None}
            accuracies = {name: self._test_accuracy(model, tested, path) for name, path in saved.items()}
        self._summarise(model, pruner, seed, accuracies, run_folder(self._trainer))

    def _test_accuracy(self, model: SparseClassifier, data: pl.LightningDataModule, path: str | None) -> float:
        loggers, self._trainer.loggers = self._trainer.loggers, []
        said = logging.getLogger("pytorch_lightning")
        level = said.level
        try:
            said.setLevel(logging.WARNING)  # two paths are no news here
            metrics = self._trainer.test(model, datamodule=data, ckpt_path=path, verbose=False)
        finally:
            said.setLevel(level)
            self._trainer.loggers = loggers
        if not metrics or "test/accuracy" not in metrics[0]:
            raise SparsityError("the data have no test images; leave test_after_fit out")
        return float(metrics[0]["test/accuracy"])

    @rank_zero_only
    def _summarise(
        self,
        model: SparseClassifier,
        pruner: PruningCallback | None,
        seed: int | None,
        accuracies: Mapping[str, float],
        folder: RunFolder | None,
    ) -> None:
        method, asked = (method_of(pruner), pruner.density) if pruner else (None, None)
        summary = RunSummary.of(
            model.network,
            known_sample(self._trainer, model),
            method,
            asked,
            test_accuracy=accuracies,
            seed=seed,
            epochs=self._trainer.current_epoch,
            seconds=round(self._seconds, 1),
            float32_products=self._products,
            measures_at_start=_measures_at_start(self._trainer),
        )
        for logger in self._trainer.loggers:
            logger.log_metrics({f"test/{name}_accuracy": value for name, value in accuracies.items()})
            logger.save()
        if folder:
            summary.write(folder)
        print(summary.one_line(folder))


def _measures_at_start(trainer: pl.Trainer) -> Mapping[str, float]:
    found = [one.measures_at_start for one in trainer.callbacks if isinstance(one, TopologyAnalysis)]  # type: ignore[attr-defined]
    return found[0] if found else {}


def method_of(pruner: PruningCallback) -> str:
    """What a pruner's runs are called, with its ablation."""
    name = type(pruner).__name__
    return name if pruner.ablation is None else f"{name} ({pruner.ablation})"


def _saved_checkpoints(trainer: pl.Trainer, resumed: str | None) -> dict[str, str | None]:
    """The best and the last of a fit; one that is resumed at its end saves nothing more."""
    callback = trainer.checkpoint_callback
    found = {name: getattr(callback, f"{name}_model_path", "") for name in ("best", "last")}
    if resumed and not found["last"] and read_checkpoint(Path(resumed))["global_step"] == trainer.global_step:
        found["last"] = resumed
    return {name: path for name, path in found.items() if path}
