"""A command that fails leaves every folder as it was, wherever it fails, and however deep its output."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from tests.saved_runs import save_network

STUDY = {
    "set": {"data": "Digits", "model.network": "FC", "trainer.accelerator": "cpu"},
    "axes": [{"pruner": ["Random"]}, {"pruner.density": [0.1]}],
}
PREDICT = ["predict", "--data", "Digits", "--data.limit", "8", "--model.network", "FC", "--model.network.depth", "3",
           "--model.network.width", "8", "--ckpt_path", "a.ckpt", "--trainer.accelerator", "cpu",
           "--trainer.enable_progress_bar", "false"]  # fmt: skip
COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "export": (["export", "a.ckpt"], ["sparsity.cli.export.write_network", "sparsity.cli.export.card"]),
    "analyze": (
        ["analyze", "a.ckpt", "b.ckpt"],
        ["sparsity.cli.analyze.compare", "sparsity.cli.analyze.write_json", "sparsity.cli.analyze_figures.save_figure"],
    ),
    "report": (["report", "a.ckpt", "b.ckpt"], ["sparsity.report.build.real_sizes", "sparsity.report.build.page"]),
    "connect": (
        ["connect", "a.ckpt", "b.ckpt", "--data", "Digits", "--points", "2", "--images", "8"],
        ["sparsity.cli.connect.linear_path", "sparsity.cli.connect.write_json"],
    ),
    "show": (["show", "a.ckpt"], ["sparsity.cli.show.network_page"]),
    "convert": (["convert", "a.ckpt"], ["sparsity.checkpoints.writing.write_new"]),
    "benchmark": (
        ["benchmark", "a.ckpt", "--engines", "[torch]", "--batches", "[1]", "--threads", "[1]", "--repeats", "1"],
        ["sparsity.cli.benchmark.write_new"],
    ),
    "study": (
        ["study", "--config", "study.yaml"],
        ["sparsity.study.claims.try_lock", "sparsity.study.launch.write_planned", "sparsity.study.launch.run_locally"],
    ),
    "predict": (PREDICT, ["sparsity.callbacks.predictions.write_predictions"]),
}
"""By command the arguments without its output, and functions that may fail on the way."""


def everything(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder, hidden ones too, but for what predict logs."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize(
    ("output", "error"),
    [
        ("out", OSError(28, "No space left on device")),
        ("kept/a/b/c", ValueError("of somebody else's code")),
        ("empty", OSError(28, "No space left on device")),
    ],
)
@pytest.mark.parametrize(("command", "place"), [(name, p) for name, (_, places) in COMMANDS.items() for p in places])
def test_what_fails_on_the_way_leaves_no_folder_and_no_file(
    command: str,
    place: str,
    error: Exception,
    output: str,
    sparsity: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("a", "b")):
        save_network(Path(f"{name}.ckpt"), seed=number)
    Path("study.yaml").write_text(yaml.safe_dump(STUDY))
    Path("kept").mkdir()
    if command not in ("convert", "benchmark"):  # whose outputs are files
        Path("empty").mkdir()
    module, _, function = place.rpartition(".")
    monkeypatch.setattr(importlib.import_module(module), function, failing(error))
    before = everything(tmp_path)
    code = outcome(lambda: sparsity(*COMMANDS[command][0], "--output", output).code)
    assert code != 0
    assert everything(tmp_path) == before


def failing(error: Exception) -> Callable[..., NoReturn]:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


def outcome(run: Callable[[], int]) -> int:
    try:
        return run()
    except ValueError:  # no mistake of a user's
        return 1
