"""The JSON schemas of configs and studies: what they accept, and what an editor would underline."""

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytorch_lightning.callbacks import Callback

from sparsity import callbacks
from sparsity.callbacks import PruningCallback

jsonschema = pytest.importorskip("jsonschema")
ROOT = Path(__file__).parent.parent.parent
CONFIGS = ROOT / "configs"
FIT = jsonschema.Draft7Validator(json.loads((CONFIGS / "fit.schema.json").read_text()))
STUDY = jsonschema.Draft7Validator(json.loads((CONFIGS / "study.schema.json").read_text()))
FITS = [*sorted(CONFIGS.glob("*.yaml")), *sorted((CONFIGS / "pruners").glob("*.yaml"))]
STUDIES = sorted((CONFIGS / "studies").glob("*.yaml"))


@pytest.mark.parametrize("config", FITS + STUDIES, ids=lambda path: path.stem)
def test_every_config_names_its_schema_and_fits_it(config: Path) -> None:
    text = config.read_text()
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n# \S", text)
    assert named, "the first line names the schema, the second says what the config is"
    validator = STUDY if config in STUDIES else FIT
    kind = "study" if config in STUDIES else "fit"
    assert (config.parent / named[1]).resolve() == CONFIGS / f"{kind}.schema.json"
    assert [error.message for error in validator.iter_errors(yaml.safe_load(text))] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"modle": {}},
        {"pruner": {"class_path": "SynFlow", "init_args": {"densty": 0.1}}},
        {"pruner": {"class_path": "sparsity.callbacks.SynFlow", "init_args": {"density": "much"}}},
        {"model": {"network": {"class_path": "FC", "init_args": {"depht": 3}}}},
        {"trainer": {"max_epoch": 3}},
        {"data": {"class_path": "MNIST", "init_args": {"batch_size": 1.5}}},
        {"model": {"optimizer": {"class_path": "SGD", "init_args": {"rate": 0.1}}}},
    ],
)
def test_mistakes_are_found(wrong: dict[str, Any]) -> None:
    assert list(FIT.iter_errors(wrong))


@pytest.mark.parametrize(
    "right",
    [
        {"model": {"network": "FC"}, "data": "Digits", "pruner": None},
        {"model": {"network": {"class_path": "torchvision.models.resnet18", "init_args": {"num_classes": 10}}}},
        {"model": "model/lenet.yaml", "trainer": {"callbacks": [{"class_path": "my.Callback"}]}},
        {"model": {"optimizer": {"class_path": "AdamW", "init_args": {"lr": 0.1}},
                   "lr_scheduler": {"class_path": "MultiStepLR", "init_args": {"milestones": [1]}}}},
        {"pruner": {"class_path": "GemMiner", "init_args": {"optimizer": {"class_path": "SGD", "init_args": {"lr": 1}},
                                                            "lr_scheduler": {"class_path": "StepLR"}}}},
    ],
)  # fmt: skip
def test_what_a_fit_takes_is_not_underlined(right: dict[str, Any]) -> None:
    assert [error.message for error in FIT.iter_errors(right)] == []


DRAWN = {"low": 0.0001, "high": 0.1, "log": True}


@pytest.mark.parametrize(
    "wrong",
    [
        {"axis": []},
        {"axes": {"pruner": ["Random"]}},
        {"axes": [{"pruner": "Random"}]},
        {"axes": [{"model.optimizer.lr": {**DRAWN, "max": 1}}]},
        {"axes": [{"model.optimizer.lr": {"low": "little", "high": 1}}]},
        {"axes": [{"model.optimizer.lr": {"low": 1}}]},
        {"axes": [{"model.network.width": {"choices": [50]}}]},
        {"axes": [{"pruner": {"choices": ["SET", "RigL"]}}]},
        {"axes": [{"seed_everything": DRAWN}]},
        {"axes": [{"config": DRAWN}]},
        {"trials": 0},
        {"trials": "many"},
    ],
)
def test_mistakes_of_studies_are_found(wrong: dict[str, Any]) -> None:
    assert list(STUDY.iter_errors(wrong))


@pytest.mark.parametrize(
    "axis",
    [
        {"model.optimizer.lr": DRAWN},
        {"model.optimizer.lr": {"low": "1e-4", "high": "1e-1", "log": True}},
        {"model.network.width": {"low": 50, "high": 400, "step": 50}},
        {"model.optimizer": {"choices": ["SGD", "Adam"]}},
    ],
)
def test_a_study_that_searches_is_not_underlined(axis: dict[str, Any]) -> None:
    assert [error.message for error in STUDY.iter_errors({"trials": 20, "axes": [axis]})] == []


def test_the_schemas_are_those_that_the_command_prints(sparsity: Any) -> None:
    """But for what other versions of torch and Lightning have; of ours, every class with every option and its help."""
    printed = sparsity("schema")
    assert printed.code == 0, printed.err
    now, there = json.loads(printed.out), FIT.schema
    assert now["properties"].keys() == there["properties"].keys()
    own = {name for name, cls in vars(callbacks).items() if _is_pruner(cls)}
    assert len(own) >= 14
    assert all(_pruners(now)[name] == _pruners(there)[name] for name in own)  # tests may have made others
    described, described_there = _described(now), _described(there)
    assert {cls.__name__ for cls in vars(callbacks).values() if _is_callback(cls)} <= {
        name.rpartition(".")[2] for name in described_there
    }
    assert {name: described.get(name) for name in described_there} == described_there
    studies = json.loads(sparsity("schema", "--of", "study").out)
    ours = {name for name in STUDY.schema["properties"]["set"]["properties"] if not name.startswith("trainer.")}
    assert ours <= studies["properties"]["set"]["properties"].keys()
    assert studies["$defs"] == STUDY.schema["$defs"]
    assert studies["properties"]["trials"] == STUDY.schema["properties"]["trials"]


def _is_pruner(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, PruningCallback) and not value.__abstractmethods__


def _is_callback(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Callback) and not inspect.isabstract(value)


def _described(schema: dict[str, Any]) -> dict[str, tuple[str, dict[str, str]]]:
    """Of our classes, what is said of each and of its options."""
    found = {}
    for choice in (one for definition in schema["$defs"].values() for one in definition.get("anyOf", [])):
        name = choice.get("properties", {}).get("class_path", {}).get("enum", [""])[0]
        if name.startswith("sparsity."):
            options = choice["properties"].get("init_args", {}).get("properties", {})
            helps = {option: part.get("description", "") for option, part in options.items()}
            found[name] = (choice.get("description", ""), helps)
    return found


def _pruners(schema: dict[str, Any]) -> dict[str, list[str]]:
    found = {}
    for choice in schema["$defs"]["PruningCallback"]["anyOf"]:
        names = choice.get("properties", {}).get("class_path", {}).get("enum")
        if names:
            found[names[1]] = list(choice["properties"]["init_args"]["properties"])
    return found
