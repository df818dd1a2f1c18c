from collections.abc import Callable
from pathlib import Path

from sparsity.analysis.comparison.networks import compare
from sparsity.report.networks import Repeats, Setting, by_setting, read_runs
from sparsity.report.sources import find_sources
from sparsity.report.tables import asked_and_reached, differences_table, real_size_table, results_table, runs_table

SaveRun = Callable[..., Path]


def settings_below(folder: Path) -> dict[Setting, Repeats]:
    return by_setting(read_runs(find_sources([str(folder)], "best").finished))


def test_a_row_has_the_mean_and_deviation_over_its_seeds(save_run: SaveRun, tmp_path: Path) -> None:
    # Mean 0.91; deviations of 0.01, 0, 0.01 over n - 1 = 2: 0.01.
    for number, accuracy in enumerate((0.90, 0.91, 0.92)):
        save_run(f"version_{number}", "SynFlow", 0.3, seed=number, accuracy=accuracy)
    save_run("version_3", "Random", 0.3, seed=5, accuracy=0.5)
    table = results_table(settings_below(tmp_path))
    cells = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [row["method"] for row in cells] == ["Random", "SynFlow"]
    assert [row["test top-1"] for row in cells] == ["50.00 %", "91.00 ± 1.00 %"]
    assert [row["seeds"] for row in cells] == ["5", "0, 1, 2"]
    assert cells[0]["density asked"] == "30 %"
    assert "network" not in table.columns  # there is one architecture


def test_every_network_has_a_row_with_what_its_run_says(save_run: SaveRun, tmp_path: Path) -> None:
    folder = save_run("version_0", seed=1)
    table = runs_table(settings_below(tmp_path))
    (row,) = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert row["network"] == "Random 1"
    assert row["where"] == str(folder)
    assert "seconds" not in table.columns  # this run says nothing of them


def test_densities_that_were_not_reached_are_named(save_run: SaveRun, tmp_path: Path) -> None:
    save_run("version_0", "Random", asked=0.5, seed=1)  # about 30 % are kept
    words = asked_and_reached(settings_below(tmp_path))
    assert words.startswith("1 of 1 runs did not reach the density they were asked for: Random 1: ")
    assert words.endswith(" %, not 50 %.")


def test_methods_are_compared_within_and_between(save_run: SaveRun, tmp_path: Path) -> None:
    for number, method in enumerate(("Random", "Random", "SynFlow")):
        save_run(f"version_{number}", method, seed=number)
    ((_, repeats),) = settings_below(tmp_path).items()
    networks = {run.name: run.network for runs in repeats.values() for run in runs}
    table = differences_table(compare(networks), repeats, "30 %")
    assert [row[:2] for row in table.rows] == [["within Random", "1"], ["Random and SynFlow", "2"]]
    assert "±" not in table.rows[0][2]
    assert "±" in table.rows[1][2]


def test_real_sizes_are_those_of_the_compact_networks(save_run: SaveRun, tmp_path: Path) -> None:
    save_run("version_0", "Random", 0.3, seed=1, accuracy=0.9)
    (run,) = read_runs(find_sources([str(tmp_path / "runs")], "best").finished)
    found = real_size_table(by_setting([run]))
    (row,) = found.rows
    assert run.real_size is not None
    cells = dict(zip(found.columns, row, strict=True))
    assert cells["parameters"] == f"{run.real_size.compact.parameters:,}"
    assert cells["test top-1"] == "90.00 %"
    assert run.real_size.dense.parameters == 784 * 8 + 8 + 8 * 8 + 8 + 8 * 10
