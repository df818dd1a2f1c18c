"""Pickles of images are read, and nothing in them is run."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsity.datamodules.pickles import unpickle
from sparsity.errors import SparsityError


def test_a_truncated_file_is_refused_at_every_length(cifar_root: Path) -> None:
    content = (cifar_root / "cifar-10-batches-py" / "test_batch").read_bytes()
    for length in (0, 1, 2, 10, 100, len(content) // 2, len(content) - 1):
        with pytest.raises(SparsityError, match="CIFAR10: test_batch is not a pickle of plain arrays"):
            unpickle("CIFAR10", Path("test_batch"), content[:length])


def test_random_bytes_are_refused() -> None:
    rng = np.random.default_rng(0)
    for length in rng.integers(0, 200, 300):
        with pytest.raises(SparsityError):
            unpickle("CIFAR10", Path("x"), rng.bytes(length))


class Touch:
    """A pickle of this makes a folder when it is loaded by an ordinary unpickler."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(6))
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    made = tmp_path / "made"
    content = pickle.dumps({"data": Touch(made), "labels": []}, protocol=protocol)
    with pytest.raises(SparsityError, match=r"it wants to import (posix|nt|os)\.mkdir"):
        unpickle("CIFAR10", Path("data_batch_1"), content)
    assert not made.exists()
    pickle.loads(content)
    assert made.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.",
        b"cos\nsystem\n(S'true'\ntR.",
    ],
)
def test_other_functions_are_refused(content: bytes) -> None:
    with pytest.raises(SparsityError, match="it wants to"):
        unpickle("CIFAR10", Path("x"), content)


def test_a_pickle_of_something_else_is_refused() -> None:
    with pytest.raises(SparsityError, match="x holds a list where a dict was expected"):
        unpickle("CIFAR10", Path("x"), pickle.dumps([1]))


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_in_every_protocol_are_read(protocol: int) -> None:
    data = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for array in (data, np.asfortranarray(data), data[:, ::2]):
        entry = unpickle("CIFAR10", Path("x"), pickle.dumps({"data": array, "name": b"\xff"}, protocol=protocol))
        assert np.array_equal(entry["data"], array)


def test_a_pickle_of_python_2_and_old_numpy_is_read() -> None:
    # What numpy 1 on Python 2 wrote for {"data": array([[7, 8]], uint8), "labels": [3]}, like the official files.
    content = (
        b"\x80\x02}q\x01(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x01K\x02\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x02\x07\x08tb"
        b"U\x06labels]K\x03au."
    )
    entry = unpickle("CIFAR10", Path("x"), content)
    assert entry["data"].tolist() == [[7, 8]]
    assert entry["data"].dtype == np.uint8
    assert entry["labels"] == [3]
