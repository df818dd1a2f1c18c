"""Every config in the tree runs, shortened and on small made-up data in the layout of the real files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparsity.cli.fit_configs import FitConfigs

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
PRUNERS = sorted((ROOT / "configs" / "pruners").glob("*.yaml"))
"""To be laid over `dense_fc.yaml` or `dense_resnet.yaml`."""
BEFORE: dict[str, dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "complete_configs.yaml").read_text())
# Three epochs are the fewest that Gem-Miner can divide; the data are scikit-learn's digits.
SHORT = ["--trainer.max_epochs", "3", "--data.limit", "64", "--data.batch_size", "32", "--trainer.accelerator", "cpu",
         "--trainer.enable_progress_bar", "false"]  # fmt: skip
# By what an experiment's name contains: the options that make its network small.
SMALL = {
    "resnet": ["--model.network.width", "4"],
    "vgg": ["--model.network.width", "4"],
    "wrn": ["--model.network.depth", "10", "--model.network.widen", "1"],
    "vit": ["--model.network.dim", "12", "--model.network.depth", "2"],
}


def pruner_of(config: Path) -> str | None:
    pruner = yaml.safe_load(config.read_text()).get("pruner")
    return pruner["class_path"] if pruner else None


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_runs_to_the_density_it_asks_for(config: Path, sparsity: Any, tmp_path: Path) -> None:
    arguments = ["--data", "Digits", *SHORT, "--trainer.default_root_dir", tmp_path]
    for name, small in SMALL.items():
        if name in config.stem:
            arguments += [*small, "--model.network.input_shape", "[1, 28, 28]"]
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
    small = SMALL["resnet"] if base == "dense_resnet" else []
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
    """Leaving out any single value, of a layer too, changes the configuration that is run."""
    written = in_one(yaml.safe_load(config.read_text()), config.parent)
    full = printed(sparsity, written)
    for path in leaves(written):
        shorter = printed(sparsity, without(written, path))
        assert shorter != full, f"{'.'.join(path)} is the default"


@pytest.fixture(scope="module")
def fit_configs() -> FitConfigs:
    return FitConfigs()


@pytest.mark.parametrize("name", BEFORE["experiments"])
def test_an_experiments_name_stands_for_what_it_always_did_from_any_folder(
    name: str, fit_configs: FitConfigs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    require_same(BEFORE["experiments"][name], complete(fit_configs, ROOT / "configs" / f"{name}.yaml"))


@pytest.mark.parametrize("base", ["dense_fc", "dense_resnet"])
@pytest.mark.parametrize("name", BEFORE["pruners"])
def test_a_pruners_layer_adds_the_pruner_that_it_always_did(base: str, name: str, fit_configs: FitConfigs) -> None:
    files = [ROOT / "configs" / f"{base}.yaml", ROOT / "configs" / "pruners" / f"{name}.yaml"]
    require_same({**BEFORE["experiments"][base], "pruner": BEFORE["pruners"][name]}, complete(fit_configs, *files))


def test_no_config_is_left_out_of_the_comparison() -> None:
    assert sorted(BEFORE["experiments"]) == [path.stem for path in CONFIGS]
    assert sorted(BEFORE["pruners"]) == [path.stem for path in PRUNERS]


@pytest.mark.parametrize("kind", ["data", "model", "trainer"])
def test_every_layer_is_named_by_something(kind: str) -> None:
    texts = "".join(
        path.read_text() for folder in ("", "trainer") for path in (ROOT / "configs" / folder).glob("*.yaml")
    )
    for layer in (ROOT / "configs" / kind).glob("*.yaml"):
        assert layer.name in texts


@pytest.mark.parametrize("kind", ["data", "model", "trainer"])
def test_a_layer_that_is_not_there_is_named(kind: str, sparsity: Any, tmp_path: Path) -> None:
    config = {"data": "Digits", "model": {"network": "FC"}, kind: f"{kind}/none.yaml"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    outcome = sparsity("fit", "--config", tmp_path / "config.yaml")
    assert outcome.code == 2
    assert f"error: {kind}: there is no config {kind}/none.yaml" in outcome.err


def complete(fit_configs: FitConfigs, *files: Path) -> dict[str, Any]:
    arguments = [word for file in files for word in ("--config", str(file))]
    config: dict[str, Any] = yaml.safe_load(fit_configs.complete(arguments))
    return config


def require_same(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Fail where something has another value or class, or is made that was not; options may be added with defaults."""
    old, new = dict(flat(before)), dict(flat(now))
    assert {key: new.get(key) for key in old} == old
    assert {key for key in new if key.endswith("class_path")} == {key for key in old if key.endswith("class_path")}
    assert now.keys() == before.keys()


def flat(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    # Where the data lie is the machine's.
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    if not inner and not place.endswith("data_dir"):
        yield place, node
    for key, value in inner:
        yield from flat(value, f"{place}.{key}")


def in_one(node: Any, folder: Path) -> Any:
    """A config with its layers written out."""
    if isinstance(node, str) and node.endswith(".yaml"):
        return in_one(yaml.safe_load((folder / node).read_text()), (folder / node).parent)
    return {key: in_one(value, folder) for key, value in node.items()} if isinstance(node, dict) else node


def printed(sparsity: Any, config: dict[str, Any]) -> str | None:
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
