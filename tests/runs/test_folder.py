"""Every run has a folder of its own, whatever it logs to; nothing in another one is ever touched."""

import hashlib
import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from sparsity.callbacks import NetworkComparison, Random, SparseCheckpoint, TopologyAnalysis
from sparsity.classifier import SparseClassifier
from sparsity.datamodules import Digits
from sparsity.errors import SparsityError
from sparsity.networks import FC
from sparsity.runs.claiming import claim_run_folder, run_folder, runs_folder
from sparsity.runs.folder import RunFolder

SMALL = [
    "--data", "Digits", "--data.limit", "100", "--model.network", "FC", "--model.network.width", "10",
    "--model.network.depth", "2", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu",
]  # fmt: skip


class SharedLogger(Logger):
    """Logs into a folder that all runs share, as those do that send everything to a server."""

    def __init__(self, save_dir: str | None = None) -> None:
        super().__init__()
        self._save_dir = save_dir

    name = "shared"
    version = "abc"

    @property
    def save_dir(self) -> str | None:
        return self._save_dir

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        pass

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        pass


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


LOGGERS = {
    "none": ["--trainer.logger", "false"],
    "tensorboard": [],
    "tensorboard elsewhere": ["--trainer.logger", "TensorBoardLogger", "--trainer.logger.save_dir", "logs"],
    "csv": ["--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "logs", "--trainer.logger.name", "mine"],
    "shared": ["--trainer.logger", f"{__name__}.SharedLogger", "--trainer.logger.save_dir", "logs"],
    "without a folder": ["--trainer.logger", f"{__name__}.SharedLogger"],
}


@pytest.mark.parametrize("logger", LOGGERS)
def test_two_runs_have_a_folder_each_and_the_newest_is_found(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logger: str
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ["fit", *SMALL, *LOGGERS[logger], "--test_after_fit", "true"]
    before: dict[str, str] = {}
    for version in range(2):
        outcome = sparsity(*run, "--trainer.max_epochs", "1")
        assert outcome.code == 0, outcome.err
        after = contents(tmp_path)
        assert before.items() <= after.items()
        (folder,) = {path.parent for path in tmp_path.rglob(f"version_{version}/config.yaml")}
        assert {"config.yaml", "summary.json", "checkpoints"} <= {path.name for path in folder.iterdir()}
        assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
        before = after
    outcome = sparsity(*run, "--trainer.max_epochs", "2", "--ckpt_path", "last")
    assert outcome.code == 0, outcome.err
    assert re.search(rf"--ckpt_path last is .*{folder.relative_to(tmp_path)}/checkpoints/last.ckpt", outcome.err)
    assert before.items() <= contents(tmp_path).items()


def script(**options: Any) -> pl.Trainer:
    options = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False} | options
    callbacks = [Random(0.5), SparseCheckpoint(), TopologyAnalysis(False), NetworkComparison(images=0, figures=False)]
    trainer = pl.Trainer(callbacks=callbacks, enable_model_summary=False, **options)
    trainer.fit(SparseClassifier(FC(width=5, depth=2)), datamodule=Digits(limit=100))
    return trainer


@pytest.mark.parametrize("kind", ["none", "tensorboard", "csv", "shared", "both"])
def test_two_fits_of_a_script_have_a_folder_each(tmp_path: Path, kind: str) -> None:
    def loggers() -> Any:
        return {
            "none": lambda: False,
            "tensorboard": lambda: TensorBoardLogger(tmp_path),
            "csv": lambda: CSVLogger(tmp_path),
            "shared": lambda: SharedLogger(str(tmp_path)),
            "both": lambda: [CSVLogger(tmp_path), TensorBoardLogger(tmp_path)],
        }[kind]()

    script(logger=loggers(), default_root_dir=tmp_path)
    before = contents(tmp_path)
    trainer = script(logger=loggers(), default_root_dir=tmp_path)
    assert before.items() <= contents(tmp_path).items()
    # Of two loggers with folders by version each has made its own; the run takes the first one's.
    folder = tmp_path / "lightning_logs" / ("version_2" if kind == "both" else "version_1")
    assert run_folder(trainer) == RunFolder(folder)
    assert {"checkpoints", "analysis"} <= {path.name for path in folder.iterdir()}
    assert Path(str(trainer.checkpoint_callback.last_model_path)).parent == folder / "checkpoints"  # type: ignore[union-attr]


def test_another_fit_with_a_logger_that_was_used_has_a_folder_of_its_own(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    folders = [run_folder(script(logger=logger, default_root_dir=tmp_path)) for _ in range(2)]
    assert folders == [RunFolder(tmp_path / "lightning_logs" / f"version_{k}") for k in range(2)]


def test_a_script_that_chooses_the_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    script(logger=TensorBoardLogger(tmp_path, version="mine"), default_root_dir=tmp_path)
    before = contents(tmp_path)
    with pytest.raises(SparsityError, match="lightning_logs/mine holds another run; leave the logger's version out"):
        script(logger=TensorBoardLogger(tmp_path, version="mine"), default_root_dir=tmp_path)
    assert before.items() <= contents(tmp_path).items()


@pytest.mark.parametrize("kind", [TensorBoardLogger, CSVLogger, SharedLogger])
def test_runs_that_choose_their_folder_at_the_same_moment_get_one_each(tmp_path: Path, kind: Any) -> None:
    trainers = [pl.Trainer(logger=kind(str(tmp_path)), accelerator="cpu") for _ in range(8)]
    together = Barrier(len(trainers))

    def claim(trainer: pl.Trainer) -> Path:
        together.wait()
        return claim_run_folder(trainer)[0]

    root = tmp_path / "lightning_logs"
    with ThreadPoolExecutor(len(trainers)) as threads:
        claimed = set(threads.map(claim, trainers))
    assert claimed == {root / f"version_{k}" for k in range(8)}
    assert {runs_folder(trainer) for trainer in trainers} == {root}


@pytest.mark.parametrize("command", ["validate", "test"])
def test_an_evaluation_leaves_nothing_behind_and_works_where_nothing_can_be_written(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sparsity("fit", *SMALL, "--trainer.max_epochs", "1").code == 0
    before = contents(tmp_path)
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    outcome = sparsity(command, *SMALL, "--ckpt_path", "best")
    tmp_path.chmod(stat.S_IRWXU)
    assert outcome.code == 0, outcome.err
    assert contents(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == {"lightning_logs"}


def test_an_evaluation_logs_where_it_is_asked_to_and_is_no_run(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sparsity("fit", *SMALL, "--trainer.max_epochs", "1").code == 0
    logger = ["--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "tested"]
    assert sparsity("test", *SMALL, *logger, "--ckpt_path", "lightning_logs/version_0/checkpoints/best.ckpt").code == 0
    assert {path.name for path in Path("tested").rglob("*") if path.is_file()} == {"metrics.csv", "hparams.yaml"}


def test_a_failed_start_leaves_no_folder_of_any_logger(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for logger in LOGGERS.values():
        too_many = ["--pruner", "SynFlow", "--pruner.density", "1e-9"]
        assert sparsity("fit", *SMALL, *too_many, *logger, "--trainer.max_epochs", "1").code == 2
        assert os.listdir() == []
