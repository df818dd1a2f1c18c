"""YAML files that were edited badly."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.conftest import cases
from tests.fuzz.values import paths, words

CONFIG: dict[str, Any] = {
    "seed_everything": 1,
    "data": {"class_path": "Digits", "init_args": {"batch_size": 16, "limit": 64}},
    "model": {
        "network": {"class_path": "FC", "init_args": {"input_shape": [1, 28, 28], "width": 4, "depth": 2}},
        "optimizer": {"class_path": "SGD", "init_args": {"lr": 0.1, "momentum": 0.9}},
        "lr_scheduler": {"class_path": "MultiStepLR", "init_args": {"milestones": [1, 2], "gamma": 0.1}},
        "label_smoothing": 0.1,
    },
    "pruner": {"class_path": "GemMiner", "init_args": {"density": 0.5, "search_epochs": 2}},
    "trainer": {
        "accelerator": "cpu",
        "max_epochs": 3,
        "enable_progress_bar": False,
        "callbacks": [{"class_path": "DensityMonitor", "init_args": {"table": False}}],
    },
}

scalars = st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | words | st.text(max_size=4)
weird = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scalars, inner, max_size=3), max_leaves=5
)


STUDY: dict[str, Any] = {
    "config": "base.yaml",
    "set": {"trainer.max_epochs": 4, "data.batch_size": 8},
    "axes": [
        {"pruner": ["Random", "SynFlow"]},
        {"pruner.density": [0.2, 0.05], "model.network.width": [4, 5]},
        {"seed_everything": [1, 2]},
    ],
    "exclude": [{"pruner": "Random", "pruner.density": 0.05}],
}


@st.composite
def edited(draw: st.DrawFn, original: dict[str, Any]) -> str:
    """A config with one or two entries left out, misspelt, moved elsewhere or replaced."""
    config = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 2))):
        *parents, key = draw(st.sampled_from(paths(config)))
        node = config
        for parent in parents:
            node = node[parent]
        match draw(st.sampled_from(["leave out", "misspell", "replace", "move"])):
            case "leave out":
                del node[key]
            case "misspell" if isinstance(node, dict):
                node[draw(st.text(max_size=3)) + str(key)[1:]] = node.pop(key)
            case "move":
                config[str(key)] = node[key]
            case _:
                node[key] = draw(weird)
    return yaml.safe_dump(config, allow_unicode=True)


def fit(try_it: Callable[..., None], content: bytes) -> None:
    def write(folder: Path) -> None:
        (folder / "config.yaml").write_bytes(content)

    # Without max_epochs Lightning trains for a thousand.
    try_it("fit", "--config", "config.yaml", "--trainer.max_time", "00:00:00:10", prepare=write)


@cases
@given(config=edited(CONFIG))
def test_configs_with_edits(config: str, try_it: Callable[..., None]) -> None:
    fit(try_it, config.encode())


@cases
@given(position=st.integers(0, 700), length=st.integers(0, 40), inserted=st.text(max_size=3) | words)
def test_configs_with_damaged_text(position: int, length: int, inserted: str, try_it: Callable[..., None]) -> None:
    text = yaml.safe_dump(CONFIG)
    fit(try_it, (text[:position] + inserted + text[position + length :]).encode("utf-8", "surrogatepass"))


@cases
@given(content=st.binary(max_size=60) | weird.map(lambda value: yaml.safe_dump(value, allow_unicode=True).encode()))
def test_configs_that_are_something_else(content: bytes, try_it: Callable[..., None]) -> None:
    fit(try_it, content)


@cases
@given(study=edited(STUDY))
def test_studies_with_edits(study: str, try_it: Callable[..., None]) -> None:
    base = {key: value for key, value in CONFIG.items() if key not in ("pruner", "seed_everything")}

    def write(folder: Path) -> None:
        (folder / "base.yaml").write_text(yaml.safe_dump(base))
        (folder / "study.yaml").write_text(study)

    try_it("study", "--config", "study.yaml", "--output", "out", "--dry_run", prepare=write)
