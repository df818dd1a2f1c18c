"""Processes of fits, forked and started anew, through what they print, how they end and what they keep open."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsity.study.locks import try_lock_to_pass_on
from sparsity.study.places import Place
from sparsity.study.starting import CAN_FORK, Forked, ForkServer, Process, Start, start_anew
from tests.study.processes import wait_until

ROOT = Path(__file__).parent.parent.parent
PLACE = Place(1)
FIT = [
    *("fit", "--data", "Digits", "--data.limit", "320", "--model.network", "FC", "--model.network.width", "20"),
    *("--pruner", "SynFlow", "--pruner.density", "0.1", "--trainer.accelerator", "cpu", "--trainer.max_epochs", "3"),
    *("--trainer.enable_progress_bar", "false"),
]
only_with_forks = pytest.mark.skipif(not CAN_FORK, reason="processes are forked on Linux only")


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer(PLACE) as server:
        yield server


@pytest.fixture(params=["anew", pytest.param("forked", marks=only_with_forks)])
def start(request: pytest.FixtureRequest) -> Start:
    if request.param == "anew":
        return start_anew
    found: Start = request.getfixturevalue("server").start
    return found


@pytest.fixture
def begin(tmp_path: Path) -> Any:
    """Starts a process that writes to `log.txt` and holds the lock of `lock`."""

    def begin(start: Start, arguments: list[str], place: Place = PLACE) -> Process:
        lock = try_lock_to_pass_on(tmp_path / "lock")
        assert lock is not None
        with (tmp_path / "log.txt").open("ab") as log:
            process = start(arguments, place, log.fileno(), lock)
        os.close(lock)
        return process

    return begin


def is_locked(path: Path) -> bool:
    lock = try_lock_to_pass_on(path)
    if lock is not None:
        os.close(lock)
    return lock is None


def test_it_prints_to_its_log_and_tells_how_it_ended(start: Start, begin: Any, tmp_path: Path) -> None:
    assert begin(start, ["fit", "--help"]).wait(60) == 0
    assert "Prune and train a network" in (tmp_path / "log.txt").read_text()
    assert begin(start, ["fit", "--no_such_thing"]).wait(60) == 2
    assert (tmp_path / "log.txt").read_text().splitlines()[-1].startswith("error: ")


def test_it_holds_its_lock_as_long_as_it_lives_and_can_be_ended(start: Start, begin: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = begin(start, [*FIT, "--trainer.max_epochs", "100000", "--trainer.default_root_dir", str(folder)])
    wait_until(lambda: list(folder.glob("lightning_logs/*/checkpoints/last.ckpt")))
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.05)
    assert is_locked(tmp_path / "lock")
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert process.poll() == 128 + signal.SIGTERM
    process.kill()  # does nothing to one that has ended
    assert not is_locked(tmp_path / "lock")
    assert "ended by SIGTERM" in (tmp_path / "log.txt").read_text()


@only_with_forks
@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_fit_is_bit_by_bit_one_that_was_started_anew(threads: int, begin: Any, tmp_path: Path) -> None:
    with ForkServer(Place(threads)) as server:
        for name, start in (("anew", start_anew), ("forked", server.start)):
            arguments = [*FIT, "--test_after_fit", "true", "--trainer.default_root_dir", str(tmp_path / name)]
            assert begin(start, arguments, Place(threads)).wait(120) == 0
    saved = {name: tmp_path / name / "lightning_logs/version_0/checkpoints/last.ckpt" for name in ("anew", "forked")}
    anew, forked = (torch.load(path, weights_only=True)["state_dict"] for path in saved.values())
    assert anew.keys() == forked.keys()
    assert any(name.endswith("_mask") for name in anew)
    assert all(torch.equal(anew[name], forked[name]) for name in anew)
    said = (tmp_path / "log.txt").read_text().replace("/forked/", "/anew/").splitlines()
    assert said[: len(said) // 2] == said[len(said) // 2 :]


@only_with_forks
def test_forks_live_on_without_their_server_which_starts_no_more(begin: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with ForkServer(PLACE) as server:
        process = begin(
            server.start, [*FIT, "--trainer.max_epochs", "100000", "--trainer.default_root_dir", str(folder)]
        )
        assert isinstance(process, Forked)
        wait_until(lambda: list(folder.glob("lightning_logs/*/checkpoints/last.ckpt")))
    assert process.poll() is None
    assert is_locked(tmp_path / "lock")
    process.terminate()
    assert process.wait(60) == 1  # nobody is left to tell more
    assert not is_locked(tmp_path / "lock")
    other = begin(server.start, ["fit", "--help"])
    assert isinstance(other, subprocess.Popen)
    assert other.wait(60) == 0


@only_with_forks
def test_a_fork_has_the_cores_and_variables_of_its_place(server: ForkServer, begin: Any, tmp_path: Path) -> None:
    folder, core = tmp_path / "run", min(os.sched_getaffinity(0))
    place = Place(1, gpu=None, cores=(core,), variables={"OF_THE_PLACE": "1"})
    for number, start in enumerate((start_anew, server.start)):
        root = folder / str(number)
        arguments = [*FIT, "--trainer.max_epochs", "100000", "--trainer.default_root_dir", str(root)]
        process = begin(start, arguments, place)
        wait_until(lambda root=root: list(root.glob("lightning_logs/*/checkpoints/last.ckpt")))
        holders = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if holds(pid, tmp_path / "lock")]
        assert len(holders) == 1
        assert os.sched_getaffinity(holders[0]) == {core}
        process.kill()
        assert process.wait(60) == -signal.SIGKILL


def holds(pid: int, path: Path) -> bool:
    try:
        return any(link.resolve() == path.resolve() for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def test_what_forks_share_has_touched_neither_a_gpu_nor_torchs_threads() -> None:
    program = (
        "import torch\n"
        "def touched(*_): raise AssertionError\n"
        "torch._C._cuda_getDeviceCount = touched\n"
        "torch.cuda._lazy_init = touched\n"
        "import importlib, os, sparsity.cli.forking as forking\n"
        "for name in forking.IMPORTED: importlib.import_module(name)\n"
        "tasks = '/proc/self/task'\n"
        "print(len(os.listdir(tasks)) if os.path.isdir(tasks) else 1)"
    )
    environment = {**os.environ, **Place(2).all_variables, "OPENBLAS_NUM_THREADS": "1"}  # numpy's mind forks
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["1"]
