"""No file has code run: every place for a class is tried with something that would leave a file called `ran`."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.optim.lr_scheduler import StepLR

from sparsity.classifier import SparseClassifier
from sparsity.errors import SparsityError
from sparsity.interop import save_checkpoint
from sparsity.networks import FC
from sparsity.runs.class_paths import require_classes

SHELL = {"class_path": "os.system", "init_args": {"command": "touch ran"}}
PROCESS = {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "ran"]}}
TEXT = {"class_path": "subprocess.getoutput", "init_args": {"cmd": "touch ran"}}
REEXPORTED = {"class_path": "torch.utils.cpp_extension.subprocess.getoutput", "init_args": {"cmd": "touch ran"}}

SMALL = {
    "data": {"class_path": "Digits", "init_args": {"limit": 64}},
    "model": {"network": {"class_path": "FC", "init_args": {"width": 10}}},
    "trainer": {"max_epochs": 3, "accelerator": "cpu", "enable_progress_bar": False},
}
GEM = {"class_path": "GemMiner", "init_args": {"density": 0.5}}
UNTYPED = {"class_path": "torch.nn.Linear", "init_args": {"in_features": 64, "out_features": 10}}


def changed(place: str, value: Any) -> dict[str, Any]:
    """`SMALL` with a value at a dotted place."""
    config: dict[str, Any] = yaml.safe_load(yaml.safe_dump(SMALL))
    if place.startswith("pruner."):
        config["pruner"] = yaml.safe_load(yaml.safe_dump(GEM))
    if place.startswith("model.network.init_args."):
        config["model"]["network"] = yaml.safe_load(yaml.safe_dump(UNTYPED))
    node = config
    *parents, last = place.split(".")
    for parent in parents:
        node = node.setdefault(parent, {})
    node[last] = value
    return config


def within(name: str, argument: str, code: Any) -> dict[str, Any]:
    return {"class_path": name, "init_args": {argument: code}}


@pytest.mark.parametrize("code", [SHELL, PROCESS, TEXT, REEXPORTED, "os.system"], ids=str)
@pytest.mark.parametrize(
    "place",
    [
        "data", "model", "model.network", "model.network.init_args.device", "model.optimizer", "model.lr_scheduler",
        "pruner", "pruner.init_args.optimizer", "pruner.init_args.lr_scheduler", "pruner.init_args.density",
        "trainer.callbacks", "trainer.logger", "trainer.strategy", "trainer.plugins", "trainer.profiler",
        "trainer.accelerator", "trainer.max_time", "seed_everything", "ablation", "optimizer",
    ],
)  # fmt: skip
def test_no_place_of_a_config_runs_code(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, code: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    values = [code, [code]] if place in ("trainer.callbacks", "trainer.plugins", "trainer.logger") else [code]
    for value in values:
        Path("run.yaml").write_text(yaml.safe_dump(changed(place, value)))
        outcome = sparsity("fit", "--config", "run.yaml")
        assert outcome.code == 2
        assert [line for line in outcome.err.splitlines() if line.startswith("error: ")] != []
        assert {path.name for path in tmp_path.iterdir()} == {"run.yaml"}


@pytest.mark.parametrize("code", [SHELL, TEXT])
@pytest.mark.parametrize(
    ("place", "name", "argument"),
    [
        ("model.lr_scheduler", "torch.optim.lr_scheduler.LambdaLR", "lr_lambda"),
        ("trainer.callbacks", "LambdaCallback", "on_fit_start"),
        ("trainer.strategy", "pytorch_lightning.strategies.DDPStrategy", "ddp_comm_hook"),
    ],
)
def test_no_argument_that_is_called_runs_code_when_it_is_made(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, name: str, argument: str, code: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text(yaml.safe_dump(changed(place, within(name, argument, code))))
    assert sparsity("fit", "--config", "run.yaml").code == 2
    assert {path.name for path in tmp_path.iterdir()} == {"run.yaml"}


@pytest.mark.parametrize("code", [SHELL, PROCESS, TEXT], ids=str)
@pytest.mark.parametrize("command", ["analyze", "report", "study", "validate", "test", "predict"])
def test_no_command_runs_code_for_its_data(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, code: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(FC(input_shape=(1, 8, 8), width=5, depth=2), "network.ckpt")
    Path("run.yaml").write_text(yaml.safe_dump(changed("data", code)))
    Path("study.yaml").write_text(yaml.safe_dump({"config": "run.yaml", "axes": [{"seed_everything": [1, 2]}]}))
    arguments = {
        "analyze": ["network.ckpt", "--output", "out", "--data", yaml.safe_dump(code, default_flow_style=True)],
        "report": ["network.ckpt", "--output", "out", "--data", yaml.safe_dump(code, default_flow_style=True)],
        "study": ["--config", "study.yaml"],
    }.get(command, ["--config", "run.yaml", "--ckpt_path", "network.ckpt"])
    before = set(tmp_path.rglob("*"))
    assert sparsity(command, *arguments).code == 2
    assert set(tmp_path.rglob("*")) == before


def checkpoint(path: Path, **hyper_parameters: Any) -> Path:
    save_checkpoint(FC(input_shape=(1, 8, 8), width=5, depth=2), path)
    content = torch.load(path, weights_only=True)
    content["hyper_parameters"] |= hyper_parameters
    torch.save(content, path)
    return path


@pytest.mark.parametrize("code", [SHELL, PROCESS, TEXT, "os.system"], ids=str)
@pytest.mark.parametrize("place", ["network", "optimizer", "lr_scheduler"])
@pytest.mark.parametrize("instantiator", ["pytorch_lightning.cli.instantiate_module", "os.system", None])
def test_a_checkpoint_never_runs_code_where_it_names_a_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, code: Any, instantiator: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    path = checkpoint(tmp_path / "a.ckpt", **{place: code, "_instantiator": instantiator})
    with pytest.raises(SparsityError, match=f"a.ckpt names .* pass {place}=..."):
        SparseClassifier.load_from_checkpoint(path)
    given = {place: FC(input_shape=(1, 8, 8), width=5, depth=2) if place == "network" else None}
    assert isinstance(SparseClassifier.load_from_checkpoint(path, **given).network, FC)
    assert {path.name for path in tmp_path.iterdir()} == {"a.ckpt"}


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict", "analyze", "report", "convert"])
def test_a_checkpoint_full_of_code_runs_none_in_any_command(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"network": SHELL, "optimizer": SHELL, "lr_scheduler": SHELL, "_instantiator": "os.system"}
    checkpoint(tmp_path / "a.ckpt", **given, _class_path="os.system")
    flags = ["--data", "Digits", "--model.network", "FC", "--model.network.width", "5", "--ckpt_path", "a.ckpt"]
    arguments = {
        "analyze": ["a.ckpt", "--output", "out"],
        "report": ["a.ckpt", "--output", "out"],
        "convert": ["a.ckpt", "--output", "b.ckpt"],
    }.get(command, [*flags, "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"])
    assert sparsity(command, *arguments).code in (0, 2)
    assert not list(tmp_path.rglob("ran"))


@pytest.mark.parametrize(
    "arguments",
    [{"lr": SHELL}, {"lr": [[1]]}, "touch ran", {1: 2}],
)
def test_arguments_of_a_checkpoints_optimizer_are_plain_values(tmp_path: Path, arguments: Any) -> None:
    path = checkpoint(tmp_path / "a.ckpt", optimizer={"class_path": "torch.optim.SGD", "init_args": arguments})
    with pytest.raises(SparsityError, match=r"with plain arguments; pass optimizer=\.\.\., or None"):
        SparseClassifier.load_from_checkpoint(path)


def test_a_checkpoints_own_optimizer_and_schedule_are_made(tmp_path: Path) -> None:
    adam = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.003, "betas": [0.8, 0.9]}}
    steps = {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 7}}
    path = checkpoint(tmp_path / "a.ckpt", optimizer=adam, lr_scheduler=steps)
    made = SparseClassifier.load_from_checkpoint(path, "cpu").configure_optimizers()
    assert type(made["optimizer"]) is torch.optim.Adam
    assert made["optimizer"].defaults["lr"] == 0.003
    assert isinstance(made["lr_scheduler"]["scheduler"], StepLR)
    assert made["lr_scheduler"]["scheduler"].step_size == 7


def test_a_file_of_hyper_parameters_is_not_followed(tmp_path: Path) -> None:
    with pytest.raises(SparsityError, match="hparams_file could have code run"):
        SparseClassifier.load_from_checkpoint(checkpoint(tmp_path / "a.ckpt"), hparams_file="hparams.yaml")


def make_sgd(parameters: Any) -> torch.optim.SGD:
    return torch.optim.SGD(parameters, lr=0.1)


@pytest.mark.parametrize("path", ["torch.optim.SGD", "torchvision.models.resnet.resnet18", f"{__name__}.make_sgd"])
def test_classes_and_functions_that_say_what_they_make_may_be_named(path: str) -> None:
    require_classes({"model": [{"class_path": path, "init_args": {}}]})


@pytest.mark.parametrize("path", ["torchvision.models.alexnet", "torchvision.models.googlenet"])
def test_of_a_module_and_a_function_of_one_name_the_function_is_meant(path: str) -> None:
    require_classes({"model": [{"class_path": path, "init_args": {}}]})
