from collections.abc import Callable
from pathlib import Path

import pytest

from sparsity.analysis.statistics.verdict import verdict
from sparsity.report.significance import intervals_table, pairs_table, ranked, scores, significance
from tests.report.test_tables import settings_below

SaveRun = Callable[..., Path]


def save(save_run: SaveRun, **accuracies: list[float]) -> None:
    for method, found in accuracies.items():
        for seed, accuracy in enumerate(found, start=1):
            save_run(f"{method}_{seed}", method, 0.3, seed=seed, accuracy=accuracy)


def test_a_winner_is_called_only_where_intervals_and_tests_tell(save_run: SaveRun, tmp_path: Path) -> None:
    save(save_run, A=[0.90, 0.91, 0.92], B=[0.50, 0.51, 0.53])
    words = "".join(significance(settings_below(tmp_path)))
    assert "At 30 % density: A is better than all others." in words


def test_no_winner_is_called_where_intervals_overlap(save_run: SaveRun, tmp_path: Path) -> None:
    save(save_run, A=[0.90, 0.91, 0.92], B=[0.89, 0.90, 0.92])
    words = "".join(significance(settings_below(tmp_path)))
    assert "no method is better than all others; A has the highest mean and cannot be told from B." in words


def test_one_method_has_no_section(save_run: SaveRun, tmp_path: Path) -> None:
    save(save_run, A=[0.90, 0.91])
    assert significance(settings_below(tmp_path)) == []


def test_rows_by_hand(save_run: SaveRun, tmp_path: Path) -> None:
    save(save_run, A=[0.80, 0.81, 0.82], B=[0.79, 0.79, 0.79])
    ((setting, repeats),) = settings_below(tmp_path).items()
    found = verdict(scores(repeats))
    # 81 ± 4.302653 / sqrt(3) * 1 points; B's seeds are all equal.
    intervals = intervals_table({setting: found}, {setting: "30 %"})
    assert intervals.rows[0] == ["A", "30 %", "81.00 %", "78.52 to 83.48 %"]
    assert intervals.rows[1][-1] == "-"
    # Differences of 1, 2 and 3 points: p = 0.0742; 2 of 8 flips reach their sum. Of d = 2 five seeds reach 80 %, of
    # d = 1 ten do.
    (row,) = pairs_table(found).rows
    assert row == ["A and B", "3", "+2.00", "0.074", "0.250", "no", "5", "10"]


def test_methods_are_ranked_over_densities_and_seeds_that_all_have(save_run: SaveRun, tmp_path: Path) -> None:
    for asked in (0.3, 0.1):
        for seed in (1, 2, 3):
            for number, method in enumerate("CBA"):
                if (asked, seed, method) != (0.1, 3, "A"):
                    save_run(f"{method}_{asked}_{seed}", method, asked, seed=seed, accuracy=0.5 + 0.1 * number)
    settings = settings_below(tmp_path)
    (architecture,) = {setting.architecture for setting in settings}
    found = ranked(architecture, settings)
    assert found is not None
    assert found.blocks == 5  # at 10 % A lacks seed 3
    assert (found.names, found.ranks) == (("A", "B", "C"), (1, 2, 3))


@pytest.mark.parametrize(("methods", "seeds"), [("AB", 5), ("ABC", 4)])
def test_too_little_is_not_ranked(save_run: SaveRun, tmp_path: Path, methods: str, seeds: int) -> None:
    save(save_run, **{method: [0.5 + 0.01 * seed for seed in range(seeds)] for method in methods})
    settings = settings_below(tmp_path)
    assert ranked(next(iter(settings)).architecture, settings) is None
