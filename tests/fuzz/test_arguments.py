"""Every argument of the command line with every kind of value."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from torch import optim
from torch.optim import lr_scheduler

from sparsity import callbacks, datamodules, networks
from sparsity.cli.fit_configs import FitConfigs
from tests.fuzz.conftest import cases
from tests.fuzz.values import huge_values, numbers, values, words

FIT = [
    "fit", "--data", "Digits", "--data.limit", "64", "--data.batch_size", "16", "--trainer.accelerator", "cpu",
    "--trainer.enable_progress_bar", "false", "--trainer.max_epochs", "2",
]  # fmt: skip
SMALL = ["--model.network", "FC", "--model.network.width", "4", "--model.network.depth", "2"]

PROCESSES = ("trainer.devices", "trainer.num_nodes", "trainer.strategy", "data.num_workers")
"""Which start other processes, or wait for them."""
LOOPS = (
    "epochs",
    "steps",
    "depth",
    "iterations",
    "rounds",
    "max_time",
    "width",
    "interval",
    "period",
    "multiplier",
    "accumulate",
)
"""Where something huge is no mistake, but takes forever."""
NOT_BY_HAND = {"self", "args", "kwargs", "options", "params", "optimizer", "metrics", "num_workers"}
OTHERS = ("model.compile", "model_registry", "detect_anomaly", "profiler")
"""Which are slow, or write where Lightning does."""


def options() -> dict[str, Any]:
    """The arguments of `fit` itself with their types."""
    parser = FitConfigs().parser
    return {
        action.dest: getattr(action, "_typehint", None)
        for action in parser._actions
        if "help" not in action.dest and action.dest not in ("config", "print_config", *PROCESSES)
        and not any(part in action.dest for part in OTHERS)
    }  # fmt: skip


def parameters(cls: type) -> dict[str, Any]:
    """All arguments of a class with their types, also those that it passes on."""
    signatures = [inspect.signature(base.__init__) for base in reversed(cls.__mro__) if base is not object]
    found = {name: parameter.annotation for s in signatures for name, parameter in s.parameters.items()}
    return {name: kind for name, kind in found.items() if name not in NOT_BY_HAND}


def concrete(package: Any, base: type = object) -> list[type]:
    found = (getattr(package, name) for name in package.__all__)
    return [cls for cls in found if isinstance(cls, type) and issubclass(cls, base) and not inspect.isabstract(cls)]


def fitting(kind: Any) -> st.SearchStrategy[str]:
    """What may be right for an argument, by its type."""
    kinds = [kind, *get_args(kind)]
    choices: list[Any] = [value for k in kinds if get_origin(k) is Literal for value in get_args(k)]
    choices += ["true", "false"] if bool in kinds else []
    choices += [0, 1, 2, 3, 4] if int in kinds else []
    choices += [0.0, 0.01, 0.5, 0.9, 1.0] if float in kinds else []
    return st.sampled_from(choices).map(str) if choices else numbers


def key_and_value(arguments: Mapping[str, Any]) -> st.SearchStrategy[tuple[str, str]]:
    """An argument's name and something to give it, most of the time something that may be right."""

    def value_of(key: str) -> st.SearchStrategy[tuple[str, str]]:
        anything = values if any(part in key for part in LOOPS) else huge_values
        return st.tuples(st.just(key), st.one_of(*[fitting(arguments[key])] * 4, anything))

    return st.sampled_from(sorted(arguments)).flatmap(value_of)


def of_classes(
    found: Sequence[type], fixed: Sequence[str] = ()
) -> st.SearchStrategy[tuple[str, list[tuple[str, str]]]]:
    """A class and values for one or two of its arguments."""

    def given_to(cls: type) -> st.SearchStrategy[tuple[str, list[tuple[str, str]]]]:
        arguments = {key: kind for key, kind in parameters(cls).items() if key not in fixed}
        pairs = st.lists(key_and_value(arguments), min_size=1, max_size=2, unique_by=lambda pair: pair[0])
        return st.tuples(st.just(cls.__name__), pairs)

    return st.sampled_from([cls for cls in found if parameters(cls)]).flatmap(given_to)


def flags(prefix: str, chosen: tuple[str, list[tuple[str, str]]]) -> list[str]:
    name, pairs = chosen
    return [f"--{prefix}", name, *(f"--{prefix}.{key}={value}" for key, value in pairs)]


TrySomething = Callable[..., None]


@cases
@given(pairs=st.lists(key_and_value(options()), min_size=1, max_size=2))
def test_arguments_of_fit(pairs: list[tuple[str, str]], try_it: TrySomething) -> None:
    try_it(*FIT, *SMALL, *(f"--{key}={value}" for key, value in pairs), "--trainer.fast_dev_run", "2")


@cases
@given(chosen=of_classes(concrete(callbacks, callbacks.PruningCallback)), density=st.sampled_from(["0.5", "1", "0.01"]))
def test_arguments_of_pruners(chosen: tuple[str, list[tuple[str, str]]], density: str, try_it: TrySomething) -> None:
    name, pairs = chosen
    given_density = [] if name == "MaskFrom" else [("density", density)]
    try_it(*FIT, *SMALL, *flags("pruner", (name, given_density + pairs)))


@cases
@given(chosen=of_classes(concrete(networks)))
def test_arguments_of_networks(chosen: tuple[str, list[tuple[str, str]]], try_it: TrySomething) -> None:
    name, pairs = chosen
    shape = [("input_shape", "[1, 28, 28]"), ("num_classes", "10")]
    small = [("width", "2"), ("depth", "8")] if name == "ResNet" else [("width", "2")]
    try_it(*FIT, *flags("model.network", (name, shape + small + pairs)), "--trainer.fast_dev_run", "1")


@cases
@given(chosen=of_classes([cls for cls in concrete(optim) if cls.__name__ not in ("Optimizer", "LBFGS")]))
def test_arguments_of_optimizers(chosen: tuple[str, list[tuple[str, str]]], try_it: TrySomething) -> None:
    try_it(*FIT, *SMALL, *flags("model.optimizer", chosen))


@cases
@given(chosen=of_classes([cls for cls in concrete(lr_scheduler) if cls.__name__ != "LRScheduler"]))
def test_arguments_of_schedules(chosen: tuple[str, list[tuple[str, str]]], try_it: TrySomething) -> None:
    sgd = ["--model.optimizer", "SGD", "--model.optimizer.lr", "0.01"]
    try_it(*FIT, *SMALL, *sgd, *flags("model.lr_scheduler", chosen))


@cases
@given(chosen=of_classes(concrete(datamodules), fixed=["limit"]))
def test_arguments_of_data(chosen: tuple[str, list[tuple[str, str]]], try_it: TrySomething) -> None:
    name, pairs = chosen
    try_it("fit", *SMALL, *flags("data", (name, [*pairs, ("data_dir", "nowhere")])), "--trainer.fast_dev_run", "1")


OBSERVERS = [cls for cls in concrete(callbacks) if not issubclass(cls, callbacks.KeepMasks)]


@cases
@given(chosen=of_classes([*OBSERVERS, EarlyStopping, ModelCheckpoint, LearningRateMonitor]))
def test_arguments_of_callbacks(chosen: tuple[str, list[tuple[str, str]]], try_it: TrySomething) -> None:
    try_it(*FIT, *SMALL, *flags("trainer.callbacks", chosen))


@cases
@given(
    command=st.sampled_from(["fit", "validate", "test", "predict", "analyze", "convert", "report", "study", "x"]),
    rest=st.lists(
        words | st.sampled_from(["--config", "--data", "--model", "--ckpt_path", "--out", "last", "--x"]), max_size=4
    ),
)
def test_any_words(command: str, rest: list[str], try_it: TrySomething) -> None:
    try_it(command, *rest)
