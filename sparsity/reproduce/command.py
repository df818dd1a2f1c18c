"""What the subcommand `reproduce` does."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sparsity.atomic import write_atomically
from sparsity.errors import SparsityError, require_whole_number
from sparsity.forks import cores
from sparsity.reproduce.page import Row, page_of
from sparsity.reproduce.results import Results
from sparsity.reproduce.targets import Target, groups_of, read_targets
from sparsity.study.grid import Point, read_grid
from sparsity.study.launch import go_on
from sparsity.study.planning import Resolve, plan
from sparsity.study.running import Run, summary


@dataclass(frozen=True)
class Group:
    """Published figures that one study gives.

    Args:
        file: The study.
        folder: Where it runs.
        targets: The figures.
        runs: By run of the study where it is planned.
        results: What has been run.
    """

    file: Path
    folder: Path
    targets: Sequence[Target]
    runs: Sequence[tuple[Point, Run]]
    results: Results

    def of(self, target: Target) -> Iterator[tuple[Point, Run]]:
        """The runs that give a figure."""
        return ((point, run) for point, run in self.runs if target.stands_for(point))

    def missing(self, target: Target) -> list[Run]:
        """Those of them that have not been run."""
        return [run for point, run in self.of(target) if self.results.of(point) is None]

    def take_finished(self) -> None:
        """Take the results of runs that are finished in the study's folder."""
        for point, run in self.runs:
            if self.results.of(point) is None and (found := summary(run)) is not None:
                self.results.take(point, found, _hardware())

    def row(self, target: Target) -> Row:
        """The figure, and what our runs came to."""
        found = [self.results.of(point) for point, _ in self.of(target)]
        return Row(target, [row for row in found if row is not None], len(found))


def reproduce(
    resolve: Resolve,
    groups: Sequence[str] = (),
    budget: float | None = None,
    jobs: int | None = None,
    folder: str = "reproduce",
    studies: str = "configs/studies",
    output: str = "studies",
    page: str = "docs/reproduction.md",
    dry_run: bool = False,
) -> None:
    """Run what published figures need and has not been run, compare, and write a page of all figures.

    Each group of figures is a study of its name; what it came to is kept beside them, so that a run is done once.

    Args:
        resolve: Makes complete configs.
        groups: Of the figures; by default all.
        budget: Minutes for runs to come: figures are taken in the order of the table as far as all runs of each fit, by
            the table's estimates for this kind of machine. 0 runs nothing and writes the page. Default: no limit.
        jobs: How many runs at a time, at least 1. Default: as many as there are GPUs, else cores.
        folder: With targets.csv and the results of runs.
        studies: Folder of the studies' files.
        output: Folder in which each study has one of its own.
        page: The Markdown file to write.
        dry_run: Only list what would be run.

    Raises:
        SparsityError: Before anything runs, if a table, a study or an argument is wrong.
    """
    if jobs is not None:
        require_whole_number("jobs", jobs, at_least=1)
    if budget is not None and not budget >= 0:
        raise SparsityError(f"budget is a number of minutes, 0 or more, not {budget}")
    targets = read_targets(Path(folder) / "targets.csv")
    asked = groups_of(targets, groups)
    at_once = jobs or torch.cuda.device_count() or cores()
    all_groups = {
        name: _group(name, [t for t in targets if t.group == name], Path(folder), Path(studies), Path(output), resolve)
        for name in groups_of(targets, ())
    }
    for group in all_groups.values():
        group.take_finished()
    chosen = _choose([all_groups[name] for name in asked], None if budget is None else budget * at_once)
    total = sum(minutes for runs in chosen.values() for minutes in runs.values())
    count = sum(map(len, chosen.values()))
    print(f"{count} runs to do, about {total / at_once:.0f} minutes with {at_once} at a time", flush=True)
    if dry_run:
        for runs in chosen.values():
            for run, minutes in runs.items():
                print(f"{minutes:8.1f} min  {run.name}")
        return
    failed = 0
    try:
        for name, due in chosen.items():
            group = all_groups[name]
            if due:
                failed += len(go_on(group.file, group.folder, [run for _, run in group.runs], due, jobs=at_once))
    finally:
        for group in all_groups.values():
            group.take_finished()
            group.results.write()
    text = page_of([all_groups[target.group].row(target) for target in targets])
    write_atomically(Path(page), text)
    print(f"{page} has {len(targets)} figures")
    if failed:
        sys.exit(1)


def _group(name: str, targets: Sequence[Target], folder: Path, studies: Path, output: Path, resolve: Resolve) -> Group:
    file = studies / f"{name}.yaml"
    points = read_grid(file)
    runs = {tuple(run.axes.items()): run for run in plan(points, output / name, resolve)}
    pairs = [(point, runs[key]) for point in points if (key := tuple(point.axes.items())) in runs]
    group = Group(file, output / name, targets, pairs, Results(folder / "results" / f"{name}.csv", points))
    for target in targets:
        if not any(group.of(target)):
            raise SparsityError(
                f"no run of {file} has {dict(target.select)}, which the figure of {target.method} at "
                f"{target.density:g} in {folder / 'targets.csv'} selects"
            )
    return group


def _choose(groups: Sequence[Group], budget: float | None) -> dict[str, dict[Path, float]]:
    """By group the runs to do and the minutes that each takes, as far as they fit in minutes of single runs."""
    on_gpu, spent = torch.cuda.is_available(), 0.0
    chosen: dict[str, dict[Path, float]] = {}
    for group in groups:
        own = chosen.setdefault(group.file.stem, {})
        for target in group.targets:
            minutes = target.gpu_minutes if on_gpu else target.cpu_minutes
            new = {run.folder: minutes for run in group.missing(target) if run.folder not in own}
            if budget is None or spent + sum(new.values()) <= budget:
                own |= new
                spent += sum(new.values())
    return chosen


def _hardware() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
