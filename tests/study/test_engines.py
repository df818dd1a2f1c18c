"""The local engine, with runs that are functions instead of processes."""

from pathlib import Path
from threading import Event, Lock

import pytest

from sparsity.study import engines
from sparsity.study.places import Place
from sparsity.study.running import Ended, Run
from sparsity.study.starting import Start

RUNS = [Run(Path(str(number)), {}, "") for number in range(6)]


def test_runs_side_by_side_have_a_gpu_each_and_their_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    lock, used, seen = Lock(), set[int | None](), list[tuple[int | None, int]]()

    def attempt(run: Run, place: Place, stop: Event, start: Start) -> Ended:
        device = place.gpu
        with lock:
            assert device not in used
            used.add(device)
            seen.append((device, place.threads))
        stop.wait(0.02)
        with lock:
            used.remove(device)
        return run, None

    monkeypatch.setattr(engines, "attempt", attempt)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("sparsity.study.places.cores", lambda: 8)
    ended = list(engines.run_locally(RUNS, jobs=2))
    assert sorted(run.folder.name for run, _ in ended) == [run.folder.name for run in RUNS]
    assert all(error is None for _, error in ended)
    assert {device for device, _ in seen} == {0, 1}
    assert {threads for _, threads in seen} == {4}


def test_closed_it_stops_what_runs_and_starts_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    started, stopped = list[str](), list[str]()

    def attempt(run: Run, place: Place, stop: Event, start: Start) -> Ended:
        started.append(run.folder.name)
        if run is RUNS[0]:
            return run, None
        assert stop.wait(60), "nobody stopped it"
        stopped.append(run.folder.name)
        return run, "stopped"

    monkeypatch.setattr(engines, "attempt", attempt)
    going = engines.run_locally(RUNS, jobs=2)
    assert next(going) == (RUNS[0], None)
    going.close()
    # Threads start and wake up in an order of their own.
    assert sorted(stopped) == sorted(set(started) - {RUNS[0].folder.name})
    assert len(stopped) == len(started) - 1
    assert set(started) < {run.folder.name for run in RUNS}


def test_what_goes_wrong_here_stops_the_others_and_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def attempt(run: Run, place: Place, stop: Event, start: Start) -> Ended:
        if run is RUNS[1]:
            raise OSError("the disk is full")
        assert stop.wait(60), "nobody stopped it"
        return run, "stopped"

    monkeypatch.setattr(engines, "attempt", attempt)
    with pytest.raises(OSError, match="the disk is full"):
        list(engines.run_locally(RUNS, jobs=2))
