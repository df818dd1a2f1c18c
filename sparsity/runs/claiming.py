"""Which folder a fit gets: one for its config, checkpoints, analysis and summary, which no other run ever has.

Of the loggers, TensorBoard's and the CSV one have folders by version, and the run takes that one; with others, or none,
it makes `lightning_logs/version_k` itself. A folder is claimed by making it, which only one process can.
"""

import re
from pathlib import Path
from typing import TypeGuard

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from sparsity.atomic import missing_folders
from sparsity.errors import SparsityError
from sparsity.runs.folder import LOGS, RunFolder
from sparsity.trainer.internals import Versioned, ask_version, asked_version, has_started

_CLAIMED = "_sparsity_run_folder"
_SHARED = "_sparsity_run_folder_is_shared"


def runs_folder(trainer: pl.Trainer) -> Path:
    """Where the runs with a trainer's loggers have their folders side by side."""
    if (logger := _versioned(trainer)) is not None:
        return Path(logger.root_dir)
    places = [logger.save_dir for logger in trainer.loggers if logger.save_dir is not None]
    return Path([*places, trainer.default_root_dir][0]) / LOGS


def run_folder(trainer: pl.Trainer) -> RunFolder | None:
    """The folder of the fit at hand, the same one for all that ask; the first to ask claims it.

    In several processes all have to ask the first time.

    Args:
        trainer: In a fit.

    Returns:
        None for a fast development run, which leaves nothing behind.

    Raises:
        SparsityError: If the user chose the folder of another run.
    """
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        return None
    if not getattr(trainer, _SHARED, False):
        claim_run_folder(trainer)
        setattr(trainer, _CLAIMED, trainer.strategy.broadcast(getattr(trainer, _CLAIMED, None)))
        setattr(trainer, _SHARED, True)
    return RunFolder(getattr(trainer, _CLAIMED))


def has_run_folder(trainer: pl.Trainer) -> bool:
    """Whether somebody has asked for the folder of the fit at hand: without logger or checkpoints there may be none."""
    return getattr(trainer, _SHARED, False)


def claim_run_folder(trainer: pl.Trainer) -> list[Path]:
    """Claim a fit's folder before it starts, so that runs that start at the same moment never share one.

    Args:
        trainer: That has none yet; it remembers it.

    Returns:
        The folder and those it lies in, as far as this process has made them now; nothing if it has not.

    Raises:
        SparsityError: If the user chose the folder of another run.
    """
    if not trainer.is_global_zero or trainer.fast_dev_run or getattr(trainer, _CLAIMED, None) is not None:  # type: ignore[attr-defined]
        return []
    logger = _versioned(trainer)
    folder, made = _claim_next(runs_folder(trainer)) if logger is None else _claim_version(logger)
    for other in trainer.loggers:
        if _is_versioned(other) and asked_version(other) is None and Path(other.root_dir) == folder.parent:
            ask_version(other, folder.name)
    setattr(trainer, _CLAIMED, folder)
    return made


def _is_versioned(logger: Logger) -> TypeGuard[Versioned]:
    return isinstance(logger, TensorBoardLogger | CSVLogger)


def _versioned(trainer: pl.Trainer) -> Versioned | None:
    return next((logger for logger in trainer.loggers if _is_versioned(logger)), None)


def _claim_version(logger: Versioned) -> tuple[Path, list[Path]]:
    """The logger's folder, and what was made for it; of one that has begun to log already, its checkpoints'."""
    is_writing = has_started(logger)
    is_free = (is_writing and isinstance(logger.version, int)) or _is_free(logger)
    while not (made := _make(folder := _folder_of(logger))):
        if is_free and not is_writing:
            ask_version(logger, None)  # another run was faster: look again
        elif not RunFolder(folder).is_taken and _make(RunFolder(folder).checkpoints):
            return folder, []
        elif is_free:
            return _claim_next(folder.parent)
        else:
            raise SparsityError(f"{folder} holds another run; leave the logger's version out, or choose another")
    return folder, made


def _claim_next(root: Path) -> tuple[Path, list[Path]]:
    while True:
        found = [re.fullmatch(r"version_(\d+)", path.name) for path in root.glob("version_*")]
        number = max([int(match[1]) for match in found if match], default=-1) + 1
        if made := _make(folder := root / f"version_{number}"):
            return folder, made


def _folder_of(logger: Versioned) -> Path:
    version = logger.version
    return Path(logger.root_dir) / (version if isinstance(version, str) else f"version_{version}")


def _is_free(logger: Versioned) -> bool:
    """Whether nobody chose the version: in a SLURM job Lightning does, the job's number, the same for all its fits."""
    return asked_version(logger) in (None, SLURMEnvironment.job_id())


def _make(folder: Path) -> list[Path]:
    """Make a folder, with those it lies in; nothing if it is there."""
    missing = missing_folders(folder)
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        if not folder.is_dir():
            raise
        return []
    except FileNotFoundError as error:  # of a file system in which none can be made
        raise SparsityError(f"there can be no folder {folder}; choose another trainer.default_root_dir") from error
    return missing
