from collections.abc import Callable
from pathlib import Path

from sparsity.report.networks import by_setting, read_runs
from sparsity.report.sections import notes
from sparsity.report.sources import find_sources

SaveRun = Callable[..., Path]


def test_settings_that_are_no_methods_own_and_differ_are_said(save_run: SaveRun, tmp_path: Path) -> None:
    for number, (method, epochs) in enumerate([("A", 2), ("A", 2), ("B", 2)]):
        save_run(f"version_{number}", method, seed=number, trainer={"max_epochs": epochs, "callbacks": method})
    folder = str(tmp_path / "runs")
    assert notes(by_setting(read_runs(find_sources([folder], "best").finished))) == []
    save_run("version_3", "B", seed=3, trainer={"max_epochs": 40})
    (told,) = notes(by_setting(read_runs(find_sources([folder], "best").finished)))
    assert told.endswith("weights, differ in trainer.max_epochs, and are compared all the same")
