"""`benchmark`, through the command line."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsity.interop import save_checkpoint
from sparsity.masks import add_masks, masks, set_mask
from sparsity.networks import FC


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    network = FC((6,), 3, depth=3, width=5)
    add_masks(network)
    set_mask(network, {name: torch.rand(mask.shape) < 0.3 for name, mask in masks(network).items()})
    save_checkpoint(network, tmp_path / "run.ckpt")
    return tmp_path / "run.ckpt"


def test_times_are_printed_and_written(sparsity: Any, checkpoint: Path, tmp_path: Path) -> None:
    written = tmp_path / "times.csv"
    outcome = sparsity("benchmark", checkpoint, "--engines", "[torch]", "--threads", "[1]", "--batches", "[1,2]",
                       "--repeats", 1, "--output", written)  # fmt: skip
    assert outcome.code == 0, outcome.err
    with written.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["network"], row["batch"]) for row in rows] == [
        ("dense", "1"), ("masked", "1"), ("compact", "1"), ("dense", "2"), ("masked", "2"), ("compact", "2")
    ]  # fmt: skip
    assert [row["ratio"] for row in rows if row["network"] == "dense"] == ["1.0", "1.0"]
    assert "compact" in outcome.out
    outcome = sparsity("benchmark", checkpoint, "--output", written)
    assert outcome.code == 2
    assert "exists and is not overwritten" in outcome.err


def test_onnx_runtime_is_an_engine_like_the_others(sparsity: Any, checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    written = tmp_path / "times.csv"
    outcome = sparsity("benchmark", checkpoint, "--engines", "[onnx]", "--threads", "[1]", "--batches", "[2]",
                       "--repeats", 1, "--output", written)  # fmt: skip
    assert outcome.code == 0, outcome.err
    with written.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["network"], row["engine"]) for row in rows] == [
        ("dense", "torch"), ("dense", "onnx"), ("masked", "onnx"), ("compact", "onnx")
    ]  # fmt: skip
    assert all(float(row["milliseconds"]) > 0 for row in rows)


def test_without_onnx_runtime_the_others_go_on_after_a_sentence(
    sparsity: Any, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsity.compaction.export.find_spec", lambda name: None)
    quick = ["--threads", "[1]", "--batches", "[1]", "--repeats", "1"]
    outcome = sparsity("benchmark", checkpoint, "--engines", "[torch,onnx]", *quick)
    assert outcome.code == 0, outcome.err
    assert "without onnx: the format onnx needs onnx and onnxscript and onnxruntime, not installed" in outcome.out
    assert "compact" in outcome.out
    outcome = sparsity("benchmark", checkpoint, "--engines", "[onnx]", *quick)
    assert outcome.code == 2
    assert "not installed here" in outcome.err
    assert outcome.err.strip().count("\n") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "cuda:17"], "there is no device 'cuda:17' here"),
        (["--batches", "[0]"], "batches must be a whole number of at least 1"),
        (["--repeats", "0"], "repeats must be a whole number of at least 1"),
    ],
)
def test_what_cannot_be_timed_is_one_sentence(
    sparsity: Any, checkpoint: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    outcome = sparsity("benchmark", checkpoint, *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.strip().count("\n") == 0
