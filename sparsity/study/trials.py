"""The trials of searches: values drawn by Optuna, and what they came to, in a journal that outlives the process."""

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import RLock
from typing import Any, Literal

from sparsity.diagnosis import one_line
from sparsity.errors import SparsityError
from sparsity.seeding import derive_seed
from sparsity.study.distributions import Choices, Distribution
from sparsity.study.grid import Point

STARTUP = 5
"""So many runs of a search end by themselves before another one is judged by their median."""

State = Literal["finished", "ended early", "running"]

_FOLDER = "folder"
_ENDED: dict[str, State] = {"COMPLETE": "finished", "PRUNED": "ended early"}


@dataclass(frozen=True)
class Search:
    """A point of a study with what is drawn for each of its runs.

    Args:
        name: Which no other search has; a change of its config or distributions makes another one.
        point: What it is of.
    """

    name: str
    point: Point


@dataclass(frozen=True)
class Trial:
    """Values that were drawn for one run of a search.

    Args:
        search: Its name.
        number: Among the search's trials, from 0.
        values: By dotted key, as they are run.
        state: What it came to.
        folder: The name of its run's folder; empty if none was made yet.
        accuracy: The validation accuracy that it came to, in [0, 1]; None unless it finished.
        epochs: The last one that it was judged by; 0 if none.
        handle: Optuna's own, of one that runs.
    """

    search: str
    number: int
    values: Mapping[str, Any]
    state: State = "running"
    folder: str = ""
    accuracy: float | None = None
    epochs: int = 0
    handle: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Trials:
    """The trials of some searches; all threads may ask.

    Args:
        searches: Of one study.
        studies: Of Optuna, by the names of searches; those of which nothing is known are missing.
    """

    searches: Sequence[Search]
    studies: Mapping[str, Any]
    _lock: RLock = field(default_factory=RLock)

    @classmethod
    def read(cls, file: Path, searches: Sequence[Search]) -> "Trials":
        """What a journal has of some searches, to look at.

        Args:
            file: The journal, which need not exist.
            searches: Of one study.

        Raises:
            SparsityError: If Optuna is not installed, or the journal is damaged.
        """
        optuna = _optuna()
        if not file.is_file():
            return cls(searches, {})
        storage = _storage(optuna, file)
        names = {study.study_name for study in storage.get_all_studies()}
        known = [search.name for search in searches if search.name in names]
        return cls(searches, {name: optuna.load_study(study_name=name, storage=storage) for name in known})

    @classmethod
    def open(cls, file: Path, searches: Sequence[Search]) -> "Trials":
        """Go on with a journal, or begin it; what was not done when it was left is drawn first.

        Args:
            file: The journal, which no other process may have open.
            searches: Of one study.

        Raises:
            SparsityError: If Optuna is not installed, or the journal is damaged.
        """
        optuna = _optuna()
        _mend(file)
        storage = _storage(optuna, file)
        found = {}
        for search in searches:
            study = optuna.create_study(
                storage=storage, study_name=search.name, direction="maximize", load_if_exists=True
            )
            for left in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
                study.tell(left.number, state=optuna.trial.TrialState.FAIL)
                study.enqueue_trial(left.params)
            found[search.name] = study
        return cls(searches, found)

    def ended(self, search: Search) -> list[Trial]:
        """Those that are done, finished or ended early, in their order."""
        study = self.studies.get(search.name)
        return [] if study is None else [_trial(search, one) for one in _all(study) if one.state.name in _ENDED]

    def interrupted(self, search: Search) -> int:
        """How many were begun and are to go on."""
        study = self.studies.get(search.name)
        states = [] if study is None else [one.state.name for one in _all(study)]
        return states.count("RUNNING") + states.count("WAITING")

    def ask(self, search: Search) -> Trial:
        """The values of the next trial.

        They depend on those before it alone, whenever this process was started: each draw has a generator of its own,
        named by the search's axes and the trial's place.
        """
        optuna, study = _optuna(), self.studies[search.name]
        with self._lock:
            place = sum(one.state.name not in ("FAIL", "WAITING") for one in _all(study))
            seed = derive_seed("search", json.dumps(dict(search.point.axes)), place, seed=0) % 2**32
            study.sampler = optuna.samplers.TPESampler(seed=seed)
            drawn = {key: _of_optuna(optuna, one) for key, one in search.point.drawn.items()}
            asked = study.ask(drawn)
            return replace(_trial(search, _all(study)[asked.number]), handle=asked)

    def set_folder(self, trial: Trial, name: str) -> None:
        """Remember the folder of a trial's run."""
        with self._lock:
            trial.handle.set_user_attr(_FOLDER, name)

    def is_below(self, trial: Trial, epochs: int, accuracy: float, warm_up: int) -> bool:
        """Note a validation accuracy; whether the trial's best so far is below the others' median after these epochs.

        Args:
            trial: That runs.
            epochs: Trained; more than at the last call.
            accuracy: At their end.
            warm_up: After fewer epochs than these nobody is below.

        Returns:
            False also where fewer than `STARTUP` trials of the search have finished and been noted at this epoch.
        """
        optuna, study = _optuna(), self.studies[trial.search]
        rule = optuna.pruners.MedianPruner(STARTUP, warm_up, n_min_trials=STARTUP)
        with self._lock:
            trial.handle.report(accuracy, epochs)
            return bool(rule.prune(study, _all(study)[trial.number]))

    def finish(self, trial: Trial, accuracy: float) -> None:
        """Note what a trial came to."""
        with self._lock:
            self.studies[trial.search].tell(trial.number, accuracy)

    def end_early(self, trial: Trial) -> None:
        """Note that a trial was given up; the sampler takes it for worse than all that finished."""
        with self._lock:
            self.studies[trial.search].tell(trial.number, state=_optuna().trial.TrialState.PRUNED)


def _all(study: Any) -> list[Any]:
    """All trials of a search, as Optuna has them; not to be changed."""
    return list(study.get_trials(deepcopy=False))


def _trial(search: Search, found: Any) -> Trial:
    drawn = search.point.drawn
    return Trial(
        search=search.name,
        number=found.number,
        values={key: drawn[key].tidy(found.params[key]) for key in drawn},
        state=_ENDED.get(found.state.name, "running"),
        folder=found.user_attrs.get(_FOLDER, ""),
        accuracy=found.value if found.state.name == "COMPLETE" else None,
        epochs=found.last_step or 0,
    )


def _optuna() -> Any:
    try:
        optuna: Any = importlib.import_module("optuna")
    except ImportError as error:
        raise SparsityError('a study that searches needs Optuna; install it with pip install -e ".[search]"') from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _of_optuna(optuna: Any, own: Distribution) -> Any:
    found = optuna.distributions
    if isinstance(own, Choices):
        return found.CategoricalDistribution(own.values)
    if own.is_whole:
        return found.IntDistribution(own.low, own.high, log=own.log, step=own.step or 1)
    return found.FloatDistribution(own.low, own.high, log=own.log, step=own.step)


def _storage(optuna: Any, file: Path) -> Any:
    journal = importlib.import_module("optuna.storages.journal")
    path = str(file.absolute())
    try:
        return optuna.storages.JournalStorage(
            journal.JournalFileBackend(path, lock_obj=journal.JournalFileOpenLock(path))
        )
    except Exception as error:  # whatever Optuna meets in a damaged file
        raise SparsityError(
            f"{file} is damaged: {one_line(error)}; move it away, and the search starts anew"
        ) from error


def _mend(file: Path) -> None:
    """Take away what a process that was killed left half done: a lock, and a line without its end."""
    Path(f"{file.absolute()}.lock").unlink(missing_ok=True)
    if file.is_file() and not (content := file.read_bytes()).endswith(b"\n"):
        with file.open("r+b") as journal:
            journal.truncate(content.rfind(b"\n") + 1)
