import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sparsity.analysis.topology.network import measures
from sparsity.report.properties import of_whole_networks, properties, properties_of
from tests.report.test_tables import settings_below

SaveRun = Callable[..., Path]


def save(save_run: SaveRun, runs: int, at_start: int) -> None:
    """Runs whose accuracy rises with a number noted at the start, of some of them."""
    for number in range(runs):
        folder = save_run(f"run_{number}", f"M{number % 2}", 0.3, seed=number, accuracy=0.5 + 0.01 * number)
        if number < at_start:
            path = folder / "summary.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), "measures_at_start": {"flow": -3.0 * number}}))


def test_what_is_known_at_the_start_and_after_training_is_correlated_with_accuracy(
    save_run: SaveRun, tmp_path: Path
) -> None:
    save(save_run, 9, at_start=8)
    settings = settings_below(tmp_path)
    ((setting, found),) = properties_of(settings).items()
    by_name = {one.measure: one for one in found}
    assert by_name["flow (at start)"].rho == pytest.approx(-1)
    assert (by_name["flow (at start)"].runs, by_name["kept"].runs) == (8, 9)
    run = next(iter(settings[setting].values()))[0]
    assert set(by_name) - {"flow (at start)"} <= set(measures(run.topology))
    assert "size" not in by_name  # is equal in all
    assert all("/" not in one.measure for one in of_whole_networks(found))
    words = "".join(properties({setting: found}, settings))
    assert "flow (at start)" in words
    assert "-1.00 to -1.00" in words


def test_fewer_than_eight_runs_say_nothing(save_run: SaveRun, tmp_path: Path) -> None:
    save(save_run, 8, at_start=7)
    ((_, found),) = properties_of(settings_below(tmp_path)).items()
    assert "flow (at start)" not in {one.measure for one in found}


def test_seven_runs_have_no_section(save_run: SaveRun, tmp_path: Path) -> None:
    save(save_run, 7, at_start=7)
    settings = settings_below(tmp_path)
    assert properties_of(settings) == {}
    assert properties({}, settings) == []
