"""Giving up a run of a search that does worse than the others, while it goes."""

import math
import time
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Event

from sparsity.study.objective import complete_config, counted, density_asked, logged
from sparsity.study.places import Place
from sparsity.study.running import Run, attempt
from sparsity.study.starting import Start
from sparsity.study.trials import Trial, Trials

WARM_UP = 3
"""No run is given up in the first of so many parts of its epochs."""

_POLL = 0.2  # seconds
_PAUSE = 1.0
_IDLE = 10
"""Reading what a run has logged takes at most one in so many seconds."""


class Judge:
    """Says when a run is given up: as soon as its best validation accuracy so far is below the others' median."""

    def __init__(self, trials: Trials, trial: Trial, run: Run) -> None:
        config = complete_config(run)
        most = config["trainer"].get("max_epochs") or 0
        self.epochs = 0
        self._warm_up = math.ceil(most / WARM_UP) if most > 0 else None
        self._asked = density_asked(config)
        self._trials, self._trial, self._run = trials, trial, run
        self._gave_up = False

    def gives_up(self) -> bool:
        """Look at what the run has logged since the last time."""
        if not self._gave_up and self._warm_up is not None:
            for epochs, accuracy in counted(logged(self._run.folder), self._asked).items():
                if epochs > self.epochs and not self._gave_up:
                    self.epochs = epochs
                    self._gave_up = self._trials.is_below(self._trial, epochs, accuracy, self._warm_up)
        return self._gave_up


def attempt_judged(run: Run, judge: Judge, place: Place, stop: Event, start: Start) -> str | None:
    """Do a run until it ends, is given up, or everything is to stop; why it failed if it did."""
    own, look = Event(), time.monotonic() + _PAUSE
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(attempt, run, place, own, start)
        try:
            while not wait([going], _POLL).done and not stop.is_set():
                if (began := time.monotonic()) >= look:
                    if judge.gives_up():
                        break
                    look = time.monotonic() + max(_PAUSE, _IDLE * (time.monotonic() - began))
        finally:
            own.set()
    return going.result()[1]
