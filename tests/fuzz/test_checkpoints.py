"""Checkpoint files that are damaged, hostile, or of something else."""

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.attempt import attempt
from tests.fuzz.conftest import cases
from tests.fuzz.test_arguments import FIT, SMALL
from tests.fuzz.values import paths

MODEL = ["--data", "Digits", "--data.limit", "64", "--data.batch_size", "16", *SMALL]
PRUNER = ["--pruner", "GemMiner", "--pruner.density", "0.5"]
QUIET = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
FILE = "broken.ckpt"
COMMANDS = {
    "fit": [*FIT, *SMALL, *PRUNER, "--trainer.max_epochs", "4", "--ckpt_path", FILE],
    "validate": ["validate", *MODEL, *QUIET, "--ckpt_path", FILE],
    "test": ["test", *MODEL, *QUIET, "--ckpt_path", FILE],
    "predict": ["predict", *MODEL, *QUIET, "--ckpt_path", FILE],
    "MaskFrom": [*FIT, *SMALL, "--pruner", "MaskFrom", "--pruner.mask_from", FILE],
    "analyze": ["analyze", FILE, "good.ckpt"],
    "report": ["report", FILE],
    "convert": ["convert", FILE, "--out", "converted.ckpt"],
    "export": ["export", FILE, "--output", "exported"],
}
commands = st.sampled_from(sorted(COMMANDS))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A checkpoint in the middle of a search."""
    content = io.BytesIO()

    def keep(folder: Path) -> None:
        content.write((folder / "lightning_logs/version_0/checkpoints/last.ckpt").read_bytes())

    arguments = [*FIT, *SMALL, *PRUNER, "--pruner.search_epochs", "2", "--trainer.max_epochs", "4"]
    assert attempt([*arguments, "--trainer.max_steps", "6"], check=keep).outcome == "ran"
    return content.getvalue()


def run(try_it: Callable[..., None], command: str, good: bytes, broken: bytes) -> None:
    def write(folder: Path) -> None:
        (folder / FILE).write_bytes(broken)
        (folder / "good.ckpt").write_bytes(good)

    try_it(*COMMANDS[command], prepare=write)


@cases
@given(command=commands, end=st.floats(0, 1))
def test_truncated_checkpoints(command: str, end: float, good: bytes, try_it: Callable[..., None]) -> None:
    run(try_it, command, good, good[: int(end * len(good))])


@cases
@given(
    command=commands,
    places=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), min_size=1, max_size=5),
)
def test_overwritten_checkpoints(
    command: str, places: list[tuple[float, bytes]], good: bytes, try_it: Callable[..., None]
) -> None:
    broken = bytearray(good)
    for place, new in places:
        start = int(place * (len(good) - 4))
        broken[start : start + len(new)] = new
    run(try_it, command, good, bytes(broken))


@cases
@given(command=commands, content=st.binary(max_size=100))
def test_random_bytes(command: str, content: bytes, good: bytes, try_it: Callable[..., None]) -> None:
    run(try_it, command, good, content)


class Code:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


def with_code(checkpoint: dict[str, Any], kind: str) -> bytes:
    match kind:
        case "pickle":
            return pickle.dumps(Code())
        case "old format":
            content = io.BytesIO()
            torch.save(checkpoint | {"epoch": Code()}, content, _use_new_zipfile_serialization=False)
            return content.getvalue()
        case "zip without entries":
            content = io.BytesIO()
            zipfile.ZipFile(content, "w").close()
            return content.getvalue()
        case "in the weights":
            return saved(checkpoint | {"state_dict": {"network.fc1.weight": Code()}})
    return saved(checkpoint | {"epoch": Code()})


def saved(checkpoint: Any) -> bytes:
    content = io.BytesIO()
    torch.save(checkpoint, content)
    return content.getvalue()


@cases
@given(
    command=commands,
    kind=st.sampled_from(["pickle", "old format", "zip without entries", "in the weights", "beside the weights"]),
)
def test_code_in_checkpoints(command: str, kind: str, good: bytes, try_it: Callable[..., None]) -> None:
    run(try_it, command, good, with_code(torch.load(io.BytesIO(good), weights_only=True), kind))


PUBLIC = ("state_dict", "hyper_parameters", "optimizer_states", "lr_schedulers")


def edit(tensor: Any, how: str) -> Any:
    """Something else in the place of a tensor."""
    if not isinstance(tensor, torch.Tensor):
        return None
    match how:
        case "shape":
            return tensor.repeat(2, *(1 for _ in range(tensor.ndim - 1))) if tensor.ndim else tensor[None]
        case "flat":
            return tensor.flatten()
        case "type":
            return tensor.float() if tensor.dtype == torch.bool else tensor.bool()
        case "half":
            return tensor.half()
        case "not finite":
            return tensor / 0 if tensor.is_floating_point() else tensor
        case "none kept":
            return torch.zeros_like(tensor)
    return "a string"


@cases
@given(
    command=commands,
    data=st.data(),
    how=st.sampled_from(["leave out", "shape", "flat", "type", "half", "not finite", "none kept", "string", "number"]),
)
def test_edited_checkpoints(
    command: str, data: st.DataObject, how: str, good: bytes, try_it: Callable[..., None]
) -> None:
    checkpoint = torch.load(io.BytesIO(good), weights_only=True)
    top = data.draw(st.sampled_from(sorted(checkpoint)))
    choices = [(top, *rest) for rest in [(), *paths(checkpoint[top])]]
    # What else there is, the program keeps for itself: checksums tell if it is damaged.
    *parents, key = data.draw(st.sampled_from([place for place in choices if top in PUBLIC or len(place) == 1]))
    node = checkpoint
    for parent in parents:
        node = node[parent]
    if how == "leave out":
        del node[key]
    elif how == "number":
        node[key] = data.draw(st.integers(-3, 30) | st.floats())
    else:
        node[key] = edit(node[key], how)
    run(try_it, command, good, saved(checkpoint))


def flags(key: str, value: object) -> list[str]:
    return [f"--{key}", str(value)]


OTHER = [
    *(
        [*flags("pruner", name), "--pruner.density", "0.5"]
        for name in ("SynFlow", "EdgePopup", "RigL", "IterativeMagnitude")
    ),
    *(flags("model.network.width", 5), flags("model.network.depth", 3), flags("model.network", "ResNet")),
    *(flags("model.optimizer", "Adam"), flags("trainer.max_epochs", 1), flags("pruner.search_epochs", 3)),
    [*flags("model.lr_scheduler", "CosineAnnealingLR"), *flags("model.lr_scheduler.T_max", 3)],
    *(flags("trainer.precision", "64-true"), flags("trainer.precision", "bf16-mixed"), flags("data.batch_size", 8)),
    *(flags("data.limit", 32), flags("trainer.accumulate_grad_batches", 2), flags("pruner.train_affine", "true")),
    *(
        flags("pruner.scope", "layer"),
        flags("ablation", "shuffle"),
        flags("pruner.density", 0.1),
        flags("pruner.period", 2),
    ),
]


@cases
@given(
    command=st.sampled_from(["fit", "validate", "test", "predict"]),
    other=st.lists(st.sampled_from(OTHER), min_size=1, max_size=2),
)
def test_checkpoints_of_another_run(
    command: str, other: list[list[str]], good: bytes, try_it: Callable[..., None]
) -> None:
    def write(folder: Path) -> None:
        (folder / FILE).write_bytes(good)

    try_it(*COMMANDS[command], *(part for change in other for part in change), prepare=write)
