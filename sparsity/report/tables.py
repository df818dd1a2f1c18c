"""The tables of a report: results by method and density, every run, and how methods differ."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isfinite, nan
from statistics import fmean
from typing import NamedTuple

from sparsity.analysis.comparison.measures import MEASURES, pair_means
from sparsity.analysis.comparison.results import Comparison
from sparsity.analysis.topology.network import Topology
from sparsity.formatting import NOTHING, mean_and_deviation, number, percent, percents
from sparsity.report.networks import Repeats, Setting, TrainedNetwork
from sparsity.runs.summary import OFF, is_reached


class Whose(NamedTuple):
    """What a row is of, for a page that shows some methods and one density.

    Args:
        methods: Their names.
        density: The one of its setting; None if it is not of one.
    """

    methods: tuple[str, ...]
    density: float | None = None


class Table(NamedTuple):
    """Text in rows and columns.

    Args:
        caption: What it shows.
        columns: Headings.
        rows: Cells; the first names the row.
        words: The columns that hold words; the others hold numbers.
        whose: Of every row; empty if they are nobody's.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Sequence[str]
    whose: Sequence[Whose] = ()


def results_table(settings: Mapping[Setting, Repeats]) -> Table:
    """One row per setting and method: what was asked, what was reached, and the accuracy over seeds."""
    rows = [
        [
            method,
            setting.architecture,
            NOTHING if runs[0].source.asked is None else percent(runs[0].source.asked),
            percents([run.topology.densities.density for run in runs]),
            ", ".join(run.source.seed for run in runs if run.source.seed) or NOTHING,
            mean_and_deviation([100 * run.accuracy for run in runs if run.accuracy is not None], "{:.2f}".format, " %"),
            percents([run.topology.connectivity.effective_density for run in runs]),
            percents([share for run in runs if isfinite(share := _flops_share(run.topology))]),
        ]
        for setting, repeats in settings.items()
        for method, runs in repeats.items()
    ]
    return _without_idle_columns(
        Table(
            "Mean ± standard deviation over seeds; of a single run the value alone.",
            ("method", "network", "density asked", "reached", "seeds", "test top-1", "on a path", "FLOPs"),
            rows,
            words=("method", "network"),
            whose=[Whose((method,), setting.density) for setting, repeats in settings.items() for method in repeats],
        )
    )


def _flops_share(topology: Topology) -> float:
    """NaN where multiply-adds are not known, or none."""
    return topology.flops_effective / topology.flops_dense if topology.flops_dense else nan


def real_size_table(settings: Mapping[Setting, Repeats]) -> Table:
    """One row per setting and method: density, and what compact networks really cost."""
    rows, whose = [], []
    for setting, repeats in settings.items():
        for method, runs in repeats.items():
            known = [run.real_size for run in runs if run.real_size is not None]
            if not known:
                continue
            whose.append(Whose((method,), setting.density))
            rows.append(
                [
                    method,
                    setting.architecture,
                    percents([run.topology.densities.density for run in runs]),
                    f"{fmean(size.compact.parameters for size in known):,.0f}",
                    percents([size.compact.parameters / size.dense.parameters for size in known]),
                    percents([size.compact.multiply_adds / size.dense.multiply_adds for size in known]),
                    percents([size.compact.seconds / size.dense.seconds for size in known]),
                    mean_and_deviation(
                        [100 * run.accuracy for run in runs if run.accuracy is not None], "{:.2f}".format, " %"
                    ),
                ]
            )
    columns = (
        "method", "network", "density", "parameters", "share", "multiply-adds", "time", "test top-1"
    )  # fmt: skip
    caption = (
        "Compact networks: equal outputs, without the units that no output depends on. Their parameters, and as shares "
        "of the dense network's parameters, multiply-adds and time."
    )
    return _without_idle_columns(Table(caption, columns, rows, ("method", "network"), whose))


def runs_table(settings: Mapping[Setting, Repeats]) -> Table:
    """One row per network."""
    rows = [
        [
            run.name,
            percent(run.topology.densities.density),
            f"{run.topology.densities.kept:,}",
            f"{run.topology.connectivity.effective:,}",
            str(sum(layer.dead for layer in run.topology.connectivity.layers.values())),
            NOTHING if run.accuracy is None else f"{100 * run.accuracy:.2f} %",
            *(number(getattr(run.source.summary, key, None)) for key in ("epochs", "seconds")),
            number(getattr(run.source.summary, "git_commit", None))[:10],
            str(run.source.path),
        ]
        for repeats in settings.values()
        for runs in repeats.values()
        for run in runs
    ]
    columns = (
        "network", "density", "kept weights", "on a path", "dead units", "test top-1", "epochs", "seconds", "commit",
        "where",
    )  # fmt: skip
    caption = "Counted in the networks; epochs, seconds and commit as their runs say."
    whose = [
        Whose((method,), setting.density)
        for setting, repeats in settings.items()
        for method, runs in repeats.items()
        for _ in runs
    ]
    return _without_idle_columns(Table(caption, columns, rows, ("network", "commit", "where"), whose))


def differences_table(comparison: Comparison, repeats: Repeats, label: str) -> Table:
    """One row per pair of methods: means over all pairs of their networks.

    Args:
        comparison: Of all networks of the setting.
        repeats: The same networks by method.
        label: What to call the setting.
    """
    method_of = {run.name: method for method, runs in repeats.items() for run in runs}
    pairs: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    for pair in comparison.pairs:
        pairs[method_of[pair.a], method_of[pair.b]].append(pair_means(pair))
    compared = pair_means(comparison.pairs[0])
    found = [measure for name, measure in MEASURES.items() if name in compared and measure.heading]
    rows = [
        [
            f"within {a}" if a == b else f"{a} and {b}",
            str(len(means)),
            *(mean_and_deviation([mean[measure.name] for mean in means], "{:.3f}".format) for measure in found),
        ]
        for (a, b), means in pairs.items()
    ]
    columns = ("methods", "pairs", *(measure.heading for measure in found))
    return Table(label, columns, rows, ("methods",), [Whose(tuple(dict.fromkeys(pair))) for pair in pairs])


def asked_and_reached(settings: Mapping[Setting, Repeats]) -> str:
    """Which methods kept another share of the weights than they were asked to."""
    runs = [run for repeats in settings.values() for same in repeats.values() for run in same]
    asked = [run for run in runs if run.source.asked is not None]
    off = [run for run in asked if not is_reached(_reached(run), run.source.asked)]  # type: ignore[arg-type]
    if off:
        listed = "; ".join(f"{run.name}: {percent(_reached(run))}, not {percent(run.source.asked)}" for run in off)
        return f"{len(off)} of {len(asked)} runs did not reach the density they were asked for: {listed}."
    if asked:
        who = "The run" if len(asked) == 1 else f"All {len(asked)} runs"
        return f"{who} reached the density asked for, to {percent(OFF)} of it."
    return "Nobody says which densities were asked for; those of the networks are counted."


def _reached(run: TrainedNetwork) -> float:
    return run.topology.densities.density


def _without_idle_columns(table: Table) -> Table:
    """Leave out columns without content, and a network's architecture if all have the same."""
    kept = [
        k
        for k, column in enumerate(table.columns)
        if any(row[k] != NOTHING for row in table.rows)
        and not (column == "network" and k and len({row[k] for row in table.rows}) == 1)
    ]
    return Table(
        table.caption,
        [table.columns[k] for k in kept],
        [[row[k] for k in kept] for row in table.rows],
        table.words,
        table.whose,
    )
