"""A fit that is killed and resumed by `--ckpt_path last` ends bit by bit like one that was not."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parent.parent.parent
DIGITS = ["--data", "Digits", "--data.limit", "320", "--data.batch_size", "64", "--model.network", "FC"]
# Six epochs of five batches.
TRAINING = ["--trainer.max_epochs", "6", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"]
SYNFLOW = ["--pruner", "SynFlow", "--pruner.density", "0.1", "--pruner.iterations", "5"]
GEM_MINER = ["--pruner", "GemMiner", "--pruner.density", "0.1", "--pruner.search_epochs", "3"]
RIGL = ["--pruner", "RigL", "--pruner.density", "0.1", "--pruner.interval", "2"]
TICKETS = ["--pruner", "IterativeMagnitude", "--pruner.density", "0.1", "--pruner.rounds", "1", "--pruner.rewind", "7",
           "--pruner.min_kept", "1"]  # fmt: skip
EDGE_POPUP = ["--pruner", "EdgePopup", "--pruner.density", "0.1", "--pruner.search_epochs", "4"]
MOMENTUM = ["--model.optimizer", "SGD", "--model.optimizer.lr", "0.05", "--model.optimizer.momentum", "0.9"]
STEP_LR = ["--model.lr_scheduler", "StepLR", "--model.lr_scheduler.step_size", "2"]
EVERY_STEP = ["--trainer.callbacks", "SparseCheckpoint", "--trainer.callbacks.every_n_train_steps", "1"]


def command(folder: Path, *arguments: str) -> list[str]:
    fixed = ["fit", *DIGITS, *TRAINING, *MOMENTUM, *STEP_LR]
    return [*fixed, *arguments, "--trainer.default_root_dir", str(folder)]


def killed(folder: Path, *arguments: str) -> int:
    return subprocess.run(
        [sys.executable, "-m", "sparsity", *command(folder, *arguments)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT / "tests")}, capture_output=True, check=False,
    ).returncode  # fmt: skip


def kill_at(epoch: int, batch: int) -> list[str]:
    callback = ["--trainer.callbacks+", "probes.KillAt"]
    return [*callback, "--trainer.callbacks.epoch", str(epoch), "--trainer.callbacks.batch", str(batch)]


def last_state(folder: Path, version: int) -> dict[str, Any]:
    path = folder / "lightning_logs" / f"version_{version}" / "checkpoints" / "last.ckpt"
    return torch.load(path, weights_only=True)


@pytest.fixture
def uninterrupted(sparsity: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    def state(*pruner: str) -> dict[str, Any]:
        folder = tmp_path_factory.getbasetemp() / f"uninterrupted_{pruner[1]}"
        if not folder.exists():
            assert sparsity(*command(folder, *pruner)).code == 0
        return last_state(folder, 0)

    return state


@pytest.mark.parametrize(
    ("pruner", "moment", "every_step"),
    [
        pytest.param(SYNFLOW, (0, 0), False, id="right_after_pruning"),
        pytest.param(SYNFLOW, (3, 2), False, id="in_training"),
        pytest.param(SYNFLOW, (3, 2), True, id="in_training_saved_in_mid_epoch"),
        pytest.param(GEM_MINER, (0, 0), False, id="before_the_search"),
        pytest.param(GEM_MINER, (2, 3), False, id="in_the_search"),
        pytest.param(GEM_MINER, (2, 3), True, id="in_the_search_saved_in_mid_epoch"),
        pytest.param(GEM_MINER, (3, 0), False, id="at_the_switch"),
        pytest.param(GEM_MINER, (4, 1), False, id="in_finetuning"),
        pytest.param(GEM_MINER, (4, 1), True, id="in_finetuning_saved_in_mid_epoch"),
        pytest.param(RIGL, (2, 3), True, id="while_the_mask_moves_saved_in_mid_epoch"),
        pytest.param(TICKETS, (3, 0), False, id="right_after_rewinding"),
        pytest.param(TICKETS, (4, 2), True, id="in_the_second_round_saved_in_mid_epoch"),
        pytest.param(EDGE_POPUP, (2, 3), True, id="in_edge_popups_search_saved_in_mid_epoch"),
    ],
)
def test_a_killed_fit_resumes_to_the_same_masks_and_weights(
    pruner: list[str], moment: tuple[int, int], every_step: bool, tmp_path: Path, sparsity: Any, uninterrupted: Any
) -> None:
    expected = uninterrupted(*pruner)
    saving = EVERY_STEP if every_step else []
    assert killed(tmp_path, *pruner, *saving, *kill_at(*moment)) == -signal.SIGKILL

    resumed = sparsity(*command(tmp_path, *pruner), "--ckpt_path", "last")
    assert resumed.code == 0, resumed.err
    assert str(tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt") in resumed.err
    actual = last_state(tmp_path, 1)
    assert actual["global_step"] == expected["global_step"] == 30
    for name, tensor in expected["state_dict"].items():
        assert torch.equal(actual["state_dict"][name], tensor), name
    masks = [t for n, t in actual["state_dict"].items() if n.endswith("weight_mask")]
    assert sum(int(m.sum()) for m in masks) == 11_940


@pytest.fixture
def _own_handler() -> Iterator[None]:
    """Libraries that other tests use, as Ray, leave handlers of SIGTERM behind."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_own_handler")
@pytest.mark.parametrize(
    ("by", "batch", "code", "step"),
    [
        pytest.param("SIGTERM", 3, 143, 14, id="SIGTERM"),
        pytest.param("SIGTERM", 4, 143, 10, id="SIGTERM_before_an_epochs_last_batch"),
        pytest.param("SIGINT", 3, 130, 10, id="Ctrl-C"),
    ],
)
def test_a_fit_that_is_asked_to_end_says_how_to_go_on_and_does(
    by: str,
    batch: int,
    code: int,
    step: int,
    tmp_path: Path,
    sparsity: Any,
    uninterrupted: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = uninterrupted(*GEM_MINER)
    monkeypatch.syspath_prepend(str(ROOT / "tests"))
    stopped = sparsity(*command(tmp_path, *GEM_MINER), *kill_at(2, batch), "--trainer.callbacks.by", by)
    saved = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    assert stopped.code == code
    assert stopped.err.endswith(f"ended by {by}; --ckpt_path {saved} goes on from there\n")
    # SIGTERM leaves the time to save after the batch, if the epoch goes on; Ctrl-C ends wherever it is.
    assert last_state(tmp_path, 0)["global_step"] == step

    assert sparsity(*command(tmp_path, *GEM_MINER), "--ckpt_path", saved).code == 0
    actual = last_state(tmp_path, 1)
    assert actual["global_step"] == expected["global_step"]
    for name, tensor in expected["state_dict"].items():
        assert torch.equal(actual["state_dict"][name], tensor), name


@pytest.fixture
def limit_files() -> Iterator[Callable[[int], None]]:
    """Sets how large a file may become, as a full disk would; a limit that Python reports as an error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full_ends_a_fit_in_one_sentence_and_spares_the_last_checkpoint(
    tmp_path: Path, sparsity: Any, uninterrupted: Any, limit_files: Callable[[int], None]
) -> None:
    expected = uninterrupted(*SYNFLOW)
    limit_files(800_000)  # enough for the first checkpoint, and not for one with momentum
    stopped = sparsity(*command(tmp_path, *SYNFLOW))
    limit_files(resource.RLIM_INFINITY)
    folder = tmp_path / "lightning_logs" / "version_0"
    saved = folder / "checkpoints" / "last.ckpt"
    assert stopped.code == 2
    assert stopped.err.splitlines()[-1] == (
        f"error: cannot write the log in {folder}: File too large; make room, or write elsewhere; "
        f"--ckpt_path {saved} goes on from there"
    )
    assert list(saved.parent.iterdir()) == [saved]

    assert sparsity(*command(tmp_path, *SYNFLOW), "--ckpt_path", "last").code == 0
    for name, tensor in expected["state_dict"].items():
        assert torch.equal(last_state(tmp_path, 1)["state_dict"][name], tensor), name


def test_random_kills_end_like_no_kill() -> None:
    script = [sys.executable, str(ROOT / "benchmarks" / "interruptions.py"), "--kills", "3", "--pruners", "RigL"]
    done = subprocess.run(script, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "RigL: 3 kills" in done.stdout
    assert "equal 3, wrong 0" in done.stdout
