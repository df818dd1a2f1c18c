"""`show`, through the command line."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from sparsity.interop import load_network, save_checkpoint
from sparsity.networks import FC, ResNet
from tests.analysis.comparison.test_alignment import relabelled
from tests.cli.test_analyze import sparse_checkpoint
from tests.report.test_own_networks import OWN


def test_a_network_and_its_relabelled_copy_keep_the_same_edges_once_aligned(sparsity: Any, tmp_path: Path) -> None:
    path = sparse_checkpoint(tmp_path / "a.ckpt", 0)
    save_checkpoint(relabelled(load_network(path), (1, 28, 28), 1), tmp_path / "b.ckpt")
    out = tmp_path / "out"
    outcome = sparsity("show", path, tmp_path / "b.ckpt", "--output", out, "--align", "weights")
    assert outcome.code == 0, outcome.err
    assert f"written to {out}" in outcome.out
    assert "b: " in outcome.out
    assert {file.name for file in out.iterdir()} == {"network.html", "network.png"}
    assert (out / "network.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "network.html").read_text()
    assert "<h1>a and b</h1>" in page
    first, second = page.split('"shared": ')[1:]
    assert first.split('"')[1] == second.split('"')[1]


def test_a_network_that_a_trusted_config_names_is_drawn(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tanh_net.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    import tanh_net  # type: ignore[import-not-found]

    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    config = {"model": {"network": {"class_path": "tanh_net.Tanh", "init_args": {"width": 5}}}}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    torch.save(tanh_net.Tanh(5).state_dict(), checkpoint)
    ours = sparsity("show", tmp_path / "run", "--output", tmp_path / "untrusted")
    assert ours.code == 2
    assert not (tmp_path / "untrusted").exists()
    outcome = sparsity(
        "show", tmp_path / "run", "--output", tmp_path / "out", "--trust_config", "true", "--data", "Digits"
    )
    assert outcome.code == 0, outcome.err
    assert "3,970 of 3,970 weights kept" in outcome.out


def test_mistakes_are_one_sentence_and_leave_nothing(sparsity: Any, tmp_path: Path) -> None:
    a, b = (sparse_checkpoint(tmp_path / f"{name}.ckpt", 0) for name in "ab")
    save_checkpoint(ResNet(8, width=2), tmp_path / "c.ckpt")
    save_checkpoint(FC(depth=2, width=8, input_shape=(3,)), tmp_path / "d.ckpt")
    for arguments, sentence in (
        ((a, b, tmp_path / "c.ckpt"), "two side by side; 3 checkpoints were given"),
        ((a, tmp_path / "c.ckpt"), "one network has 3 masked layers and the other"),
        ((a, "--edges", "0"), "edges must be a whole number of at least 1, not 0"),
        ((a, b, "--align", "activations"), "matching by activations needs images"),
    ):
        outcome = sparsity("show", *arguments, "--output", tmp_path / "out")
        assert outcome.code == 2
        assert sentence in outcome.err
        assert outcome.err.strip().count("\n") == 0
        assert not (tmp_path / "out").exists()
