"""Data files that are damaged, hostile, or of something else."""

import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sparsity.datamodules.mnist import FILES
from tests.fuzz.conftest import cases
from tests.fuzz.test_arguments import SMALL
from tests.fuzz.test_checkpoints import Code

QUIET = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.max_epochs", "1"]
CIFAR_FILES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def idx(shape: tuple[int, ...], high: int) -> bytes:
    values = np.random.default_rng(0).integers(0, high, shape, np.uint8)
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + values.tobytes()


def mnist() -> dict[str, bytes]:
    contents = [idx((40, 28, 28), 256), idx((40,), 10), idx((20, 28, 28), 256), idx((20,), 10)]
    return dict(zip(FILES[True] + FILES[False], contents, strict=True))


def cifar() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    return {
        name: {
            "data": generator.integers(0, 256, (8, 3072), np.uint8),
            "labels": [int(n) for n in generator.integers(0, 10, 8)],
        }
        for name in CIFAR_FILES
    }


def run(try_it: Callable[..., None], data: str, below: str, files: dict[str, bytes | None]) -> None:
    """Fit on files, with None for a folder in a file's place."""

    def write(folder: Path) -> None:
        (folder / below).mkdir(parents=True)
        for name, content in files.items():
            (folder / below / name).mkdir() if content is None else (folder / below / name).write_bytes(content)

    options = ["--data.data_dir", ".", "--data.val_size", "8", "--data.batch_size", "8", *QUIET]
    verify = ["--data.verify", "false"] if data == "CIFAR10" else []
    network = SMALL if data == "MNIST" else [*SMALL, "--model.network.input_shape", "[3, 32, 32]"]
    try_it("fit", "--data", data, *options, *verify, *network, prepare=write)


def damage(draw: Any, content: bytes) -> bytes | None:
    place = int(draw(st.floats(0, 1)) * len(content))
    match draw(st.sampled_from(["truncate", "header", "overwrite", "append", "replace", "folder"])):
        case "truncate":
            return content[:place]
        case "header":
            start = draw(st.integers(0, 15))
            return content[:start] + draw(st.binary(min_size=1, max_size=4)) + content[start + 4 :]
        case "overwrite":
            return content[:place] + draw(st.binary(min_size=1, max_size=8)) + content[place + 8 :]
        case "append":
            return content + draw(st.binary(min_size=1, max_size=8))
        case "replace":
            return draw(st.binary(max_size=30))
    return None


@cases
@given(data=st.data(), name=st.sampled_from(FILES[True] + FILES[False]), lost=st.booleans())
def test_files_of_mnist(data: st.DataObject, name: str, lost: bool, try_it: Callable[..., None]) -> None:
    files: dict[str, bytes | None] = {**mnist()}
    if lost:
        del files[name]
    else:
        files[name] = damage(data.draw, mnist()[name])
    run(try_it, "MNIST", "MNIST/raw", files)


@cases
@given(data=st.data(), name=st.sampled_from(CIFAR_FILES))
def test_files_of_cifar(data: st.DataObject, name: str, try_it: Callable[..., None]) -> None:
    files: dict[str, bytes | None] = {key: pickle.dumps(entry) for key, entry in cifar().items()}
    files[name] = damage(data.draw, pickle.dumps(cifar()[name]))
    run(try_it, "CIFAR10", "cifar-10-batches-py", files)


PIXELS = np.zeros((8, 3072), np.uint8)
WRONG: list[Any] = [
    *({}, [], None, 3, Code(), {"data": 1, "labels": [0]}, {"data": Code(), "labels": [0]}, {"data": PIXELS}),
    *({"data": PIXELS, "labels": labels} for labels in ([10] * 8, [-1] * 8, [0] * 7, [], np.zeros(8), ["0"] * 8, 3)),
    *({"data": data, "labels": [0] * 8} for data in (PIXELS.astype(float), PIXELS[:, 1:], PIXELS[:0], PIXELS[0])),
    {"data": np.array([Code()]), "labels": [0]},
]


@cases
@given(wrong=st.sampled_from(WRONG), name=st.sampled_from(CIFAR_FILES), protocol=st.integers(0, 5))
def test_pickles_of_something_else(wrong: Any, name: str, protocol: int, try_it: Callable[..., None]) -> None:
    files: dict[str, bytes | None] = {key: pickle.dumps(entry) for key, entry in cifar().items()}
    run(try_it, "CIFAR10", "cifar-10-batches-py", {**files, name: pickle.dumps(wrong, protocol=protocol)})
