"""Tasks in forks give what they give here, in their order, whatever happens to a fork."""

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from sparsity import forks
from sparsity.forks import in_forks, one_thread


@pytest.fixture(autouse=True)
def _several_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "cores", lambda: 3)


needs_forks = pytest.mark.skipif(sys.platform != "linux", reason="there are no forks here")


def test_results_come_in_the_order_of_their_tasks() -> None:
    def late(number: int) -> int:
        time.sleep(0.05 * (3 - number % 4))
        return number

    assert list(in_forks([partial(late, number) for number in range(8)])) == list(range(8))
    assert list(in_forks([])) == []
    assert list(in_forks([lambda: 7])) == [7]


@needs_forks
def test_they_run_in_other_processes_with_one_thread_each() -> None:
    def told() -> tuple[int, int, int]:
        threads = max(pool["num_threads"] for pool in threadpool_info())
        return os.getpid(), torch.get_num_threads(), threads

    found = list(in_forks([told] * 6))
    assert os.getpid() not in {process for process, *_ in found}
    assert all(of_torch == others == 1 for _, of_torch, others in found)


def test_tensors_and_arrays_come_back_to_the_bit() -> None:
    tensor, array = torch.randn(300, 300), np.random.default_rng(0).normal(size=1000)
    tasks: list[Callable[[], Any]] = [lambda: tensor @ tensor, lambda: np.sort(array)]
    product, ordered = in_forks(tasks)
    with one_thread():
        assert torch.equal(product, tensor @ tensor)
    assert np.array_equal(ordered, np.sort(array))


def test_what_fails_is_raised_here_as_it_is_and_what_cannot_be_sent_is_made_here() -> None:
    def fail() -> int:
        raise LookupError("a reason")

    found = in_forks([lambda: 1, fail, lambda: 3])
    assert next(found) == 1
    with pytest.raises(LookupError, match="a reason"):
        next(found)
    functions = list(in_forks([lambda: lambda: 5, lambda: lambda: 6]))
    assert [function() for function in functions] == [5, 6]


def test_what_is_warned_of_in_a_fork_is_warned_of_here() -> None:
    def warns() -> int:
        warnings.warn("that is odd", FutureWarning, stacklevel=1)
        return 1

    with pytest.warns(FutureWarning, match="that is odd"):
        assert list(in_forks([warns, lambda: 2])) == [1, 2]
    with pytest.raises(FutureWarning, match="that is odd"):  # the tests make errors of warnings
        list(in_forks([warns, lambda: 2]))


@needs_forks
def test_a_fork_that_is_killed_costs_nothing_but_time() -> None:
    here = os.getpid()

    def dies(number: int) -> int:
        if os.getpid() != here and number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    assert list(in_forks([partial(dies, number) for number in range(5)])) == list(range(5))


@needs_forks
def test_a_fork_makes_no_forks() -> None:
    def inner() -> list[int]:
        return list(in_forks([os.getpid, os.getpid]))

    assert all(len(set(found)) == 1 for found in in_forks([inner, inner]))


def test_threads_are_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


@needs_forks
def test_after_threads_of_torch_forks_go_on() -> None:
    code = (
        "import torch; from sparsity import forks; forks.cores = lambda: 2; torch.set_num_threads(2);"
        "a = torch.randn(700, 700); b = a @ a; a.exp().sum(); "
        "found = list(forks.in_forks([lambda: float((a @ a).sum()), lambda: float(a.sin().cos().sum())])); "
        "print(len(found))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "2\n"


@needs_forks
def test_forks_end_with_their_parent_however_it_ends() -> None:
    code = (
        "import os, time; from sparsity import forks; forks.cores = lambda: 2;"
        "list(forks.in_forks([lambda: (print(os.getpid(), flush=True), time.sleep(100))] * 2))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        processes = [int(parent.stdout.readline()) for _ in range(2)]
        parent.kill()
    assert _ended(processes)


def _ended(processes: list[int]) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not any(Path(f"/proc/{process}/cmdline").exists() for process in processes):
            return True
        time.sleep(0.05)
    return False
