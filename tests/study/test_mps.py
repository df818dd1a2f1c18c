"""NVIDIA's MPS, with a program in its place that writes down how it is called."""

import subprocess
from pathlib import Path

import pytest

from sparsity.study import engines, mps
from sparsity.study.mps import shared_gpus
from sparsity.study.places import Place
from sparsity.study.running import Ended, Run

PROGRAM = """#!/bin/sh
if [ "$1" != -d ]; then said=$(cat); fi
echo "$CUDA_MPS_PIPE_DIRECTORY $CUDA_MPS_LOG_DIRECTORY $CUDA_VISIBLE_DEVICES $1$said" >> "$(dirname "$0")/calls"
test -d "$CUDA_MPS_PIPE_DIRECTORY" -a -d "$CUDA_MPS_LOG_DIRECTORY"
"""
FOUR_ON_TWO = [Place(1, gpu=number % 2) for number in range(4)]


@pytest.fixture(autouse=True)
def _gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    monkeypatch.setattr(mps, "open_a_gpu", lambda environment: None)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / mps.CONTROL
    path.write_text(PROGRAM)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return path


def calls(program: Path) -> list[list[str]]:
    log = program.parent / "calls"
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def test_each_gpu_has_its_own_from_the_start_to_the_end(program: Path) -> None:
    with shared_gpus(FOUR_ON_TWO) as told:
        started = calls(program)
        assert [(gpu, said) for _, _, gpu, said in started] == [("4", "-d"), ("6", "-d")]
        for number, place in enumerate(told):
            pipe, log, _, _ = started[number % 2]
            assert place.threads == 1
            found = {name: value for name, value in place.all_variables.items() if name.startswith("CUDA_")}
            assert found == {
                "CUDA_MPS_PIPE_DIRECTORY": pipe,
                "CUDA_MPS_LOG_DIRECTORY": log,
                "CUDA_VISIBLE_DEVICES": "0",
            }
            assert Path(pipe).stat().st_mode & 0o077 == 0 or Path(pipe).parent.stat().st_mode & 0o077 == 0
        assert len({row[0] for row in started}) == 2
    assert sorted((gpu, said) for _, _, gpu, said in calls(program)[2:]) == [("4", "quit"), ("6", "quit")]
    assert {row[0] for row in calls(program)[2:]} == {row[0] for row in started}
    assert not any(Path(row[0]).exists() for row in started)


def test_it_is_ended_whatever_happens(program: Path) -> None:
    with pytest.raises(KeyboardInterrupt), shared_gpus([Place(1, gpu=0), Place(1, gpu=0)]):
        raise KeyboardInterrupt
    assert [said for *_, said in calls(program)] == ["-d", "quit"]


@pytest.mark.parametrize("places", [[Place(1), Place(1)], [Place(1, gpu=0), Place(1, gpu=1)]], ids=["none", "each"])
def test_nobody_who_shares_no_gpu_needs_it(
    places: list[Place], program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with shared_gpus(places) as told:
        assert told == places
    assert calls(program) == []
    assert capsys.readouterr().out == ""


def test_somebody_elses_is_used(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")
    with shared_gpus(FOUR_ON_TWO) as told:
        assert told == FOUR_ON_TWO
    assert calls(program) == []


def fails(environment: dict[str, str]) -> None:
    raise subprocess.CalledProcessError(1, ["python"])


def test_without_it_or_where_it_does_not_work_the_places_are_as_they_were_and_that_is_said(
    program: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said() -> str:
        with shared_gpus(FOUR_ON_TWO) as told:
            assert told == FOUR_ON_TWO
        return capsys.readouterr().out

    before = "processes on the same GPU take turns, without NVIDIA's MPS: "
    with monkeypatch.context() as patch:
        patch.setattr(mps, "open_a_gpu", fails)
        assert said() == f"{before}it runs, but a process cannot open a GPU through it\n"
    assert [text for *_, text in calls(program)] == ["-d", "quit"]
    program.write_text("#!/bin/sh\nexit 3\n")
    assert said() == f"{before}nvidia-cuda-mps-control ended with exit code 3\n"
    program.unlink()
    assert said() == f"{before}there is no nvidia-cuda-mps-control on the PATH\n"


def test_runs_of_a_study_are_told_and_it_ends_after_them(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, pipes = [Run(Path(str(number)), {}, "") for number in range(4)], list[str]()

    def attempt(run: Run, place: Place, *_: object) -> Ended:
        assert [said for *_, said in calls(program)] == ["-d"]
        pipes.append(place.all_variables["CUDA_MPS_PIPE_DIRECTORY"])
        return run, None

    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr(engines, "attempt", attempt)
    assert len(list(engines.run_locally(runs, jobs=2))) == 4
    assert [said for *_, said in calls(program)] == ["-d", "quit"]
    assert set(pipes) == {calls(program)[0][0]}


def test_interrupted_a_study_ends_it_too(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr(engines, "attempt", lambda run, *_: (run, None))
    going = engines.run_locally([Run(Path(str(number)), {}, "") for number in range(3)], jobs=2)
    next(going)
    with pytest.raises(KeyboardInterrupt):
        going.throw(KeyboardInterrupt)
    assert [said for *_, said in calls(program)] == ["-d", "quit"]


@pytest.mark.parametrize(
    ("gpus", "jobs", "share"), [(0, 4, 0.0), (2, 1, 1.0), (2, 2, 1.0), (1, 4, 0.25), (2, 3, 0.5), (1, 3, 0.3333)]
)
def test_a_cluster_is_asked_for_fractions_of_gpus(gpus: int, jobs: int, share: float) -> None:
    assert engines.share_of_a_gpu(gpus, jobs) == share
