"""A study that searches: runs whose values are drawn while it goes, by what those before them came to."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from sparsity.study.best import Outcome, best_rows, best_study, best_table, write_best
from sparsity.study.claims import claimed
from sparsity.study.engines import in_places
from sparsity.study.grid import Point
from sparsity.study.planning import Resolve, plan
from sparsity.study.progress import follow
from sparsity.study.running import folder_for
from sparsity.study.searching import Searching
from sparsity.study.trials import Search, Trials

JOURNAL = "search.journal"


def plan_searches(points: Sequence[Point], folder: Path, resolve: Resolve) -> list[Search]:
    """The searches of a study, with their configs checked where all that is drawn is lowest and highest.

    Args:
        points: Of the study.
        folder: The study's.
        resolve: Makes complete configs.

    Raises:
        SparsityError: If a config is wrong; says of which run.
    """
    found: dict[str, Search] = {}
    for point in points:
        configs = "\n".join(run.folder.name for run in plan(point.probes, folder, resolve))
        drawn = "\n".join(f"{key}: {distribution!r}" for key, distribution in point.drawn.items())
        name = folder_for(Path(), point.label, f"{configs}\n{drawn}").name
        found.setdefault(name, Search(name, point))
    return list(found.values())


def list_searches(points: Sequence[Point], folder: Path, resolve: Resolve) -> None:
    """Print the searches of a study, their trials so far, and how many are to come.

    Args:
        points: Of the study.
        folder: The study's, which need not exist.
        resolve: Makes complete configs.
    """
    searches = plan_searches(points, folder, resolve)
    trials = Trials.read(folder / JOURNAL, searches)
    counts = Counter[str]()
    for search in searches:
        print(f"{search.point.label}: {_drawn(search.point)}; {_many(search.point.trials, 'trial')}")
        ended, begun = trials.ended(search), trials.interrupted(search)
        for trial in ended:
            print(f"  {trial.state:12}{trial.folder}")
        to_come = max(0, search.point.trials - len(ended))
        counts.update(trial.state for trial in ended)
        for state, number in (("interrupted", min(begun, to_come)), ("new", max(0, to_come - begun))):
            counts[state] += number
            if number:
                print(f"  {state:12}{_many(number, 'trial')}")
    print(f"{_many(len(searches), 'search')}, {_counts(counts)}")


def search(points: Sequence[Point], file: Path, folder: Path, resolve: Resolve, jobs: int) -> bool:
    """Run the searches of a study, or go on with them, and write tables of their runs and the best of each.

    Interrupted, it says so and ends the process.

    Args:
        points: Of the study.
        file: The study's.
        folder: The study's.
        resolve: Makes complete configs.
        jobs: How many runs at a time, at least 1.

    Returns:
        Whether no run failed; those that did are listed on stderr.

    Raises:
        SparsityError: Before anything runs, if a config is wrong, Optuna is not installed, or the folder is taken.
    """
    shown, folder = folder, folder.absolute()
    # What is relative is so to a working directory that changes while configs are made complete.
    points = [replace(point, configs=tuple(path.absolute() for path in point.configs)) for point in points]
    searches = plan_searches(points, folder, resolve)
    Trials.read(folder / JOURNAL, searches)  # before the folder is made, if that is all that can be
    with claimed(folder, file):
        searching = Searching(searches, Trials.open(folder / JOURNAL, searches), folder, resolve)
        outcomes = searching.earlier()
        before, due = len(outcomes), searching.due

        def said(outcome: Outcome) -> str:
            outcomes.append(outcome)
            write_best(folder, file, searches, outcomes)
            return str(outcome)

        searching.write_planned()
        write_best(folder, file, searches, outcomes)
        counts = Counter(outcome.state for outcome in outcomes) + Counter({"to come": due})
        print(f"{file.stem}: {_many(len(searches), 'search')}, {_counts(counts)}; in {shown}", flush=True)
        with closing(in_places([searching.do_one] * due, min(jobs, before + due))) as going:
            follow((outcome for outcome in going if outcome is not None), before + due, before, said)
    print(best_table(best_rows(searches, outcomes)), end="")
    print(f"{_counts(Counter(outcome.state for outcome in outcomes))}; tables in {shown}")
    print(f"the best with several seeds: python -m sparsity study --config {shown / best_study(file)}")
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in failed:
        print(f"failed: {outcome.run.folder.name}: {outcome.reason}", file=sys.stderr)
    return not failed


def _drawn(point: Point) -> str:
    return ", ".join(f"{key} {distribution}" for key, distribution in point.drawn.items()) or "nothing drawn"


def _many(count: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"


def _counts(counts: Mapping[str, int]) -> str:
    listed = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
    return f"{_many(sum(counts.values()), 'run')} ({listed})"
