"""Mistakes in config files are told with the file and the place, before anything else is done."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sparsity.cli.config_files import require_arguments_of_classes, require_config
from sparsity.errors import SparsityError
from tests.conftest import ROOT, Outcome


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: MNIST\nmodel:\n  network: FC\n   seed: 1", "is not valid YAML: line 4: mapping values are not allowed"),
        ("model: {network: FC}\nmodel: {network: FC}", "line 2: the key 'model' stands a second time"),
        ("- data: MNIST", "is a list, and a config has options by their names"),
        ("", "is empty, and a config has options by their names"),
        ("axes: []\nset: {data: MNIST}", "is a study; run it with `sparsity study --config "),
        (
            "pruner: {class_path: SynFlow, density: 0.1, seed: 3}",
            "pruner: density and seed stand beside class_path: SynFlow; its arguments stand under init_args",
        ),
        ("trainer: {callbacks: [{class_path: Timer, duration: 3}]}", "trainer.callbacks: duration stands beside"),
    ],
)
def test_a_file_that_cannot_be_a_config_is_refused_by_its_name(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(SparsityError) as error:
        require_config(file)
    assert str(error.value).startswith(str(file))
    assert message in str(error.value)


def test_every_config_of_ours_passes() -> None:
    configs = list((ROOT / "configs").glob("*.yaml"))
    assert len(configs) > 10
    for path in configs:
        require_config(path)


def test_a_class_has_its_arguments_below_and_other_mappings_whatever_they_like() -> None:
    require_arguments_of_classes({"class_path": "FC", "init_args": {"depth": 3}, "dict_kwargs": {"a": 1}})
    require_arguments_of_classes({"network": {"init_args": {}, "depth": 3}, "widths": [1, 2]})


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        ("class_path: MNIST\nbatch_size: 3\n", "error: data: batch_size stands beside class_path: MNIST"),
        ("class_path: MNIST\n init_args:\n", "error: data: inner.yaml is not valid YAML: line 2: mapping values"),
    ],
)
def test_a_file_that_a_config_names_is_read_as_strictly(
    tmp_path: Path, sparsity: Callable[..., Outcome], inner: str, message: str
) -> None:
    (tmp_path / "inner.yaml").write_text(inner)
    (tmp_path / "config.yaml").write_text("data: inner.yaml\nmodel: {network: FC}\n")
    outcome = sparsity("fit", "--config", tmp_path / "config.yaml")
    assert outcome.code == 2
    assert outcome.err.startswith(message)


def test_without_a_command_the_commands_are_listed(sparsity: Callable[..., Outcome]) -> None:
    outcome = sparsity()
    assert outcome.code == 0
    assert "Prune and train a network." in outcome.out
