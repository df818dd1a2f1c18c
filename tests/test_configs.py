"""Every config in the tree runs, shortened and on small made-up data in the layout of the real files."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
PRUNERS = sorted((ROOT / "configs" / "pruners").glob("*.yaml"))
"""To be laid over `dense_fc.yaml` or `dense_resnet.yaml`."""
# Three epochs are the fewest that Gem-Miner can divide; the data are scikit-learn's digits.
SHORT = ["--trainer.max_epochs", "3", "--data.limit", "64", "--data.batch_size", "32", "--trainer.accelerator", "cpu",
         "--trainer.enable_progress_bar", "false"]  # fmt: skip


def pruner_of(config: Path) -> str | None:
    pruner = yaml.safe_load(config.read_text()).get("pruner")
    return pruner["class_path"] if pruner else None


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_runs_to_the_density_it_asks_for(config: Path, sparsity: Any, tmp_path: Path) -> None:
    arguments = ["--data", "Digits", *SHORT, "--trainer.default_root_dir", tmp_path]
    if "resnet" in config.stem:
        arguments += ["--model.network.width", "4", "--model.network.input_shape", "[1, 28, 28]"]
    if pruner_of(config) == "GemMiner":
        arguments += ["--pruner.search_epochs", "2", "--pruner.period", "1", "--pruner.min_kept", "1"]
    if pruner_of(config) == "SynFlow":
        arguments += ["--pruner.iterations", "5"]
    outcome = sparsity("fit", "--config", config, *arguments)
    assert outcome.code == 0, outcome.err
    summary = outcome.out.strip().splitlines()[-1]
    assert summary.startswith(pruner_of(config) or "dense")
    assert "test accuracy" in summary


@pytest.mark.parametrize("base", ["dense_fc", "dense_resnet"])
@pytest.mark.parametrize("pruner", PRUNERS, ids=lambda path: path.stem)
def test_every_pruner_can_be_laid_over_both_networks(pruner: Path, base: str, sparsity: Any, tmp_path: Path) -> None:
    small = ["--model.network.width", "4"] if base == "dense_resnet" else []
    outcome = sparsity(
        "fit", "--config", ROOT / "configs" / f"{base}.yaml", "--config", pruner, "--data", "Digits", *SHORT, *small,
        "--data.limit", "256",
        "--model.network.input_shape", "[1, 28, 28]", "--trainer.callbacks", "null",
        "--trainer.default_root_dir", tmp_path,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert f"{pruner_of(pruner)}: density 0.1 asked, 0.1" in outcome.out.strip().splitlines()[-1]


@pytest.mark.parametrize("config", CONFIGS + PRUNERS, ids=lambda path: path.stem)
def test_no_config_repeats_a_default(config: Path, sparsity: Any) -> None:
    """Leaving out any single value changes the configuration that is run."""
    written = yaml.safe_load(config.read_text())
    full = printed(sparsity, written, config.parent)
    for path in leaves(written):
        shorter = printed(sparsity, without(written, path), config.parent)
        assert shorter != full, f"{'.'.join(path)} is the default"


def printed(sparsity: Any, config: dict[str, Any], folder: Path) -> str | None:
    """The configuration that would be run, or None if it is not valid."""
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(config, file)
        file.flush()
        outcome = sparsity("fit", "--config", file.name, "--print_config")
    return outcome.out if outcome.code == 0 else None


def leaves(node: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Paths of all values but class names, without which their arguments mean nothing."""
    if not isinstance(node, dict):
        return [] if path[-1] == "class_path" else [path]
    return [leaf for key, value in node.items() for leaf in leaves(value, (*path, key))]


def without(config: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    if len(path) == 1:
        return {key: value for key, value in config.items() if key != path[0]}
    return {**config, path[0]: without(config[path[0]], path[1:])}
