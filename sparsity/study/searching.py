"""The runs of a study's searches while it goes: which comes next, and what each came to."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from threading import Event, Lock

from sparsity.atomic import write_atomically
from sparsity.runs.folder import newest_session
from sparsity.runs.planned import write_planned
from sparsity.study.best import Outcome
from sparsity.study.judging import Judge, attempt_judged
from sparsity.study.objective import validation_accuracy
from sparsity.study.places import Place
from sparsity.study.planning import Resolve, plan
from sparsity.study.running import Run, status
from sparsity.study.starting import Process, Start
from sparsity.study.trials import Search, Trial, Trials

_BELOW = "its validation accuracy was below the median of the others after {} epochs"


class Searching:
    """The searches of a study while they go; all threads may use it.

    Args:
        searches: Of the study; the paths of their configs are absolute.
        trials: Theirs.
        folder: The study's, an absolute path.
        resolve: Makes complete configs. It may change the working directory for a moment, in which no thread may look
            for a relative path and no process may start.
    """

    def __init__(self, searches: Sequence[Search], trials: Trials, folder: Path, resolve: Resolve) -> None:
        self._searches = {search.name: search for search in searches}
        self._trials, self._folder, self._resolve = trials, folder, resolve
        self._lock = Lock()
        self._begun = {search.name: [one.folder for one in trials.ended(search)] for search in searches}
        self._running = Counter[str]()

    @property
    def due(self) -> int:
        """How many runs are to come."""
        return sum(self._to_come(search) for search in self._searches.values())

    def _to_come(self, search: Search) -> int:
        return max(0, search.point.trials - len(self._begun[search.name]))

    def earlier(self) -> list[Outcome]:
        """What has ended before."""
        return [
            self._ended(search, trial) for search in self._searches.values() for trial in self._trials.ended(search)
        ]

    def _ended(self, search: Search, trial: Trial) -> Outcome:
        run = Run(self._folder / "runs" / trial.folder, search.point.at(trial.values).axes, "")
        if trial.state == "finished":
            return Outcome(search.name, run, trial.values, "finished", trial.accuracy)
        reason = _given_up_before(run) or _BELOW.format(trial.epochs)
        return Outcome(search.name, run, trial.values, "ended early", reason=reason)

    def write_planned(self) -> None:
        """Write which runs the study has and will have; those to come go by their places in the searches."""
        names = []
        for search in self._searches.values():
            begun = self._begun[search.name]
            names += [*begun, *(f"{search.name}-trial-{k}" for k in range(len(begun), search.point.trials))]
        write_planned(self._folder, map(Path, dict.fromkeys(names)))

    def do_one(self, place: Place, stop: Event, start: Start) -> Outcome | None:
        """Draw values and do their run, or go on with one that was begun.

        Args:
            place: Where its process runs.
            stop: Once set, the process is ended.
            start: Starts the process.

        Returns:
            None if it was stopped, and is to go on another time.

        Raises:
            SparsityError: If the run left nothing to search by.
        """
        if stop.is_set():
            return None

        def start_here(arguments: Sequence[str], place: Place, log: int, lock: int) -> Process:
            with self._lock:
                return start(arguments, place, log, lock)

        search, trial, run = self._begin()
        try:
            if reason := _given_up_before(run):
                return self._end_early(trial, run, reason)
            judge = Judge(self._trials, trial, run)
            error = None if judge.gives_up() else attempt_judged(run, judge, place, stop, start_here)
            if judge.gives_up():  # perhaps of what was logged last: it must not matter when somebody looked
                return self._end_early(trial, run, _BELOW.format(judge.epochs))
            if error is None:
                accuracy = validation_accuracy(run)
                self._trials.finish(trial, accuracy)
                return Outcome(trial.search, run, trial.values, "finished", accuracy)
            if reason := _given_up_before(run):  # training diverged, which is the values' fault
                return self._end_early(trial, run, reason)
            return None if stop.is_set() else Outcome(trial.search, run, trial.values, "failed", reason=error)
        finally:
            with self._lock:
                self._running[search.name] -= 1

    def _begin(self) -> tuple[Search, Trial, Run]:
        """A trial of the first of those searches that fewest run of: with searches enough each goes on by itself."""
        with self._lock:
            open_ones = [search for search in self._searches.values() if self._to_come(search)]
            search = min(open_ones, key=lambda one: self._running[one.name])
            trial = self._trials.ask(search)
            (run,) = plan([search.point.at(trial.values)], self._folder, self._resolve)
            self._trials.set_folder(trial, run.folder.name)
            self._running[search.name] += 1
            self._begun[search.name].append(run.folder.name)
            self.write_planned()
            return search, trial, run

    def _end_early(self, trial: Trial, run: Run, reason: str) -> Outcome:
        newest = newest_session(run.folder)
        if newest is not None and status(run) != "finished":
            write_atomically(newest.ended_early_file, f"{reason}\n")
        self._trials.end_early(trial)
        return Outcome(trial.search, run, trial.values, "ended early", reason=reason)


def _given_up_before(run: Run) -> str | None:
    """Why a run was ended early, from here or by itself; None if it was not, or has finished all the same."""
    newest = newest_session(run.folder)
    return None if newest is None or status(run) == "finished" else newest.ended_early
