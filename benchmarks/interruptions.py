"""Kills short fits of every phased pruner at random moments, resumes them, and compares with fits left alone.

    python benchmarks/interruptions.py --kills 50
    python benchmarks/interruptions.py --kills 5 --pruners GemMiner RigL --seed 1

Every fit is the command line in a process of its own with real signals: SIGKILL and SIGTERM in turn. A fifth of the
moments lie anywhere in the wall time of an uninterrupted run, a fifth while a checkpoint is being written, the others
anywhere between `setup` and the end; every fourth run is killed once more while it resumes. What is compared bit by bit
is the newest `last.ckpt`: masks, weights, optimizer, schedule, the pruner's own state, epochs and steps.
"""

import argparse
import mmap
import os
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

# More threads are slower in fits as small as these, and do not survive a fork.
os.environ["OMP_NUM_THREADS"] = "1"

import pytorch_lightning as pl
import torch

from sparsity.callbacks import SparseCheckpoint
from sparsity.callbacks.pruning import find_pruner
from sparsity.checkpoints.reading import read_checkpoint
from sparsity.cli import main as sparsity
from sparsity.errors import SparsityError
from sparsity.runs.folder import newest_checkpoint
from sparsity.seeding import named_generator

PRUNERS = {
    "SynFlow": ["SynFlow", "--pruner.iterations", "20"],
    "GemMiner": ["GemMiner", "--pruner.search_epochs", "6"],
    "EdgePopup": ["EdgePopup", "--pruner.search_epochs", "6"],
    "IterativeMagnitude": ["IterativeMagnitude", "--pruner.rounds", "2", "--pruner.min_kept", "1"],
    "IterativeMagnitude, rewind 7": [
        "IterativeMagnitude", "--pruner.rounds", "2", "--pruner.min_kept", "1", "--pruner.rewind", "7",
    ],
    "GradualMagnitude": ["GradualMagnitude", "--pruner.interval", "3"],
    "SET": ["SET", "--pruner.interval", "3"],
    "RigL": ["RigL", "--pruner.interval", "3"],
}  # fmt: skip
# Twelve epochs of five batches, with dropout-free FC layers, momentum and a schedule to get wrong.
COMMON = [
    "fit", "--data", "Digits", "--data.limit", "320", "--data.batch_size", "64", "--model.network", "FC",
    "--model.optimizer", "SGD", "--model.optimizer.lr", "0.05", "--model.optimizer.momentum", "0.9",
    "--model.lr_scheduler", "StepLR", "--model.lr_scheduler.step_size", "2", "--trainer.max_epochs", "12",
    "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.callbacks", "__main__.Watched",
]  # fmt: skip
PLACES = ("start-up", "pruning", "search", "training", "checkpoint", "between epochs", "validation", "end")
COMPARED = ("epoch", "global_step", "state_dict", "optimizer_states", "lr_schedulers")
SIGNALS = (signal.SIGKILL, signal.SIGTERM)

_place = mmap.mmap(-1, 1)  # shared with the forked fits: where they are, as an index of PLACES


def _enter(place: str) -> None:
    _place[0] = PLACES.index(place)


class Watched(SparseCheckpoint):
    """The ordinary checkpoints, and a note of where the fit is; it runs after the pruner's hooks."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        _enter("pruning")
        super().setup(trainer, pl_module, stage)

    def _save(self, trainer: pl.Trainer, name: str, weights_only: bool = False) -> str:
        _enter("checkpoint")
        path = super()._save(trainer, name, weights_only)
        _enter("between epochs")
        return path

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        pruner = find_pruner(trainer)
        _enter("training" if pruner is None or pruner.is_final else "search")

    def on_validation_start(self, *_: Any) -> None:
        _enter("validation")

    def on_fit_end(self, *_: Any) -> None:
        _enter("end")


@dataclass
class Tally:
    """What became of the kills of one pruner."""

    kills: Counter[str] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    runs: int = 0
    resumed: int = 0
    nothing: int = 0
    equal: int = 0
    left_over: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Moment:
    """When to kill.

    Args:
        kind: Counted from the start of the process, from `setup`, or from the begin of the writing of a checkpoint.
        fraction: Of how long that lasts, in [0, 1).
        by: The signal.
    """

    kind: Literal["process", "fit", "checkpoint"]
    fraction: float
    by: signal.Signals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="per pruner")
    parser.add_argument("--pruners", nargs="+", default=list(PRUNERS), choices=PRUNERS)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    sys.argv = ["sparsity"]
    torch.set_num_threads(1)
    all_equal = True
    for pruner in options.pruners:
        start = time.perf_counter()
        tally = campaign(pruner, options.kills, options.seed)
        report(pruner, tally, time.perf_counter() - start)
        all_equal &= not tally.wrong
    sys.exit(not all_equal)


def campaign(pruner: str, kills: int, seed: int) -> Tally:
    """Start, kill and resume runs of a pruner, one after the other, until so many kills have met a living process."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as parent:
        alone = Path(parent) / "alone"
        process, fit, code = timed(pruner, alone)
        if code != 0:
            raise RuntimeError(f"{pruner} fails without being killed: {said(alone)}")
        expected = last_state(alone)
        for number, moments in enumerate(draw_moments(pruner, seed)):
            if sum(tally.kills.values()) >= kills:
                break
            tally.runs += 1
            folder = Path(parent) / str(number)
            kill_and_resume(pruner, folder, moments, {"process": process, "fit": fit, "checkpoint": 0.004}, tally)
            difference = first_difference(expected, last_state(folder))
            if difference is None:
                tally.equal += 1
            else:
                tally.wrong.append(f"{pruner}, run {number}, {moments}: {difference} differs")
            tally.left_over += len(left_over(folder))
    return tally


def draw_moments(pruner: str, seed: int) -> Iterator[list[Moment]]:
    """For each run when it is killed, and for every fourth also when its resumption is."""
    generator = named_generator("interruptions", pruner, seed=seed)
    kinds: tuple[Literal["process", "fit", "checkpoint"], ...] = ("fit", "checkpoint", "fit", "process", "fit")
    number = 0
    while True:
        moments = []
        for again in range(2 if number % 4 == 3 else 1):
            fraction = float(torch.rand((), generator=generator, dtype=torch.float64))
            moments.append(Moment(kinds[number % 5], fraction, SIGNALS[(number + again) % 2]))
        yield moments
        number += 1


def kill_and_resume(pruner: str, folder: Path, moments: list[Moment], seconds: dict[str, float], tally: Tally) -> None:
    """Start a run, kill it at each moment in turn, resume it every time, and let the last one end by itself."""
    resume: list[str] = []
    for moment in [*moments, None]:
        code = run(pruner, folder, resume, moment, seconds, tally)
        if resume and code == 2 and "has a checkpoint last.ckpt" in said(folder):
            tally.nothing += 1
            tally.codes[code] -= moment is not None  # it ended by itself
            code = run(pruner, folder, [], moment, seconds, tally)
        elif resume:
            tally.resumed += 1
        if moment is None and code != 0:
            tally.wrong.append(f"{pruner}, {folder.name}, {moments}: ends with code {code}: {said(folder)}")
        resume = ["--ckpt_path", "last"]


def run(
    pruner: str, folder: Path, resume: list[str], moment: Moment | None, seconds: dict[str, float], tally: Tally
) -> int:
    """A fit in a process of its own, killed at a moment if one is given; its exit code, negative for a signal."""
    child = start(pruner, folder, resume)
    if moment is not None and wait_for(child, moment, seconds):
        place = PLACES[_place[0]]
        os.kill(child, moment.by)
        tally.kills[moment.by.name] += 1
        tally.places[place] += 1
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if moment is not None:
        tally.codes[code] += 1
    return code


def wait_for(child: int, moment: Moment, seconds: dict[str, float]) -> bool:
    """Wait until a moment has come; False if the process ended before."""
    if moment.kind == "fit":
        while _place[0] == PLACES.index("start-up"):
            if ended(child):
                return False
            time.sleep(0.0005)
    if moment.kind == "checkpoint":
        # Any of the twelve and the first: after a while that is drawn too, the next that begins.
        until = time.perf_counter() + moment.fraction * seconds["fit"]
        started = False
        while _place[0] != PLACES.index("checkpoint") or time.perf_counter() < until:
            if not started and _place[0] != PLACES.index("start-up"):
                started, until = True, time.perf_counter() + moment.fraction * seconds["fit"]
            if ended(child):
                return False
        time.sleep((moment.fraction * 97 % 1) * seconds["checkpoint"])
    else:
        time.sleep(moment.fraction * seconds[moment.kind])
    return not ended(child)


def ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def start(pruner: str, folder: Path, resume: list[str]) -> int:
    """Fork a process that runs the command line in a folder, with what it says in `said.txt` there."""
    (folder / "temporary").mkdir(parents=True, exist_ok=True)
    _place[0] = PLACES.index("start-up")
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        # A fork loses torch's pool of threads. It is made anew at its first use, and two threads at once spoil that.
        torch.set_num_threads(1)
        os.chdir(folder)
        tempfile.tempdir = str(folder / "temporary")
        output = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sparsity([*COMMON, "--pruner", *PRUNERS[pruner], "--pruner.density", "0.1", *resume])
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def timed(pruner: str, folder: Path) -> tuple[float, float, int]:
    """A run left alone: seconds of the process, seconds from `setup` on, exit code."""
    begin = time.perf_counter()
    child = start(pruner, folder, [])
    while _place[0] == PLACES.index("start-up") and not ended(child):
        time.sleep(0.0005)
    setup = time.perf_counter()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    end = time.perf_counter()
    return end - begin, end - setup, code


def said(folder: Path) -> str:
    lines = (folder / "said.txt").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "nothing"


def left_over(folder: Path) -> list[Path]:
    """Files that were to become something else, in the run's folders or where libraries put theirs."""
    written = [*folder.glob("lightning_logs/**/*"), *(folder / "temporary").iterdir()]
    return [path for path in written if path.name.startswith((".", "tmp"))]


def last_state(folder: Path) -> dict[str, Any]:
    try:
        checkpoint = read_checkpoint(newest_checkpoint(folder / "lightning_logs", "last"))
    except SparsityError as error:
        return {"error": str(error)}
    pruners = {name: state for name, state in checkpoint["callbacks"].items() if "density" in state}
    return {**{key: checkpoint[key] for key in COMPARED}, "pruner": pruners}


def first_difference(expected: Any, actual: Any, where: str = "") -> str | None:
    """Where two nests of tensors and plain values differ first, bit by bit."""
    if isinstance(expected, torch.Tensor):
        same = isinstance(actual, torch.Tensor) and expected.dtype == actual.dtype and torch.equal(expected, actual)
        return None if same else where
    if type(expected) is not type(actual):
        return where or "everything"
    if isinstance(expected, dict):
        if expected.keys() != actual.keys():
            return where or "everything"
        pairs: list[tuple[Any, Any, Any]] = [(key, expected[key], actual[key]) for key in expected]
    elif isinstance(expected, list | tuple):
        if len(expected) != len(actual):
            return where
        pairs = [(i, *both) for i, both in enumerate(zip(expected, actual, strict=True))]
    else:
        return None if expected == actual else where
    found = (first_difference(a, b, f"{where}/{key}") for key, a, b in pairs)
    return next((difference for difference in found if difference), None)


def report(pruner: str, tally: Tally, seconds: float) -> None:
    kills = ", ".join(f"{count} {name}" for name, count in sorted(tally.kills.items()))
    places = ", ".join(f"{place} {tally.places[place]}" for place in PLACES if tally.places[place])
    print(f"{pruner}: {sum(tally.kills.values())} kills ({kills}) in {seconds:.0f} s")
    print(f"  landed in: {places}")
    codes = ", ".join(f"{code}: {count}" for code, count in sorted(tally.codes.items()) if count)
    print(f"  exit codes of {tally.runs} runs: {codes}")
    print(
        f"  resumed {tally.resumed}, nothing to resume from {tally.nothing}, equal {tally.equal}, "
        f"wrong {len(tally.wrong)}, left-over temporary files {tally.left_over}"
    )
    for line in tally.wrong:
        print(f"  WRONG: {line}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
