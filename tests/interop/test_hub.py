"""Uploads and downloads by huggingface_hub itself, from and to a server on this machine."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from sparsity.checkpoints.exported import CARD, FILES, REPORT
from sparsity.interop import load_network, save_checkpoint
from sparsity.masks import masked_weights, set_mask
from sparsity.networks import FC
from tests.interop.hub_server import TOKEN, Hub, hub

pytest.importorskip("huggingface_hub", reason='needs huggingface_hub: pip install -e ".[hub]"')
ROOT = Path(__file__).parent.parent.parent
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def server() -> Iterator[Hub]:
    with hub() as running:
        yield running


@pytest.fixture
def run(server: Hub, tmp_path: Path) -> Run:
    """A command line with the server as its Hub, and a token."""

    def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        own = {"HF_ENDPOINT": server.address, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home")}
        environment = {**os.environ, "HF_HUB_DISABLE_XET": "1", "PYTHONPATH": str(ROOT), **own, **variables}
        words = [sys.executable, "-m", "sparsity", *arguments]
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)

    return command


@pytest.fixture
def exported(run: Run, tmp_path: Path) -> Path:
    network = FC(input_shape=(1, 4, 4), width=6, depth=3)
    set_mask(network, {name: torch.rand_like(w) < 0.5 for name, w in masked_weights(network).items()})
    save_checkpoint(network, tmp_path / "a.ckpt")
    done = run("export", "a.ckpt", "--output", "smaller")
    assert done.returncode == 0, done.stderr
    return tmp_path / "smaller"


def test_an_export_goes_to_the_hub_and_comes_back_the_same(
    run: Run, exported: Path, server: Hub, tmp_path: Path
) -> None:
    (exported / "notes.txt").write_text("mine")
    done = run("push", "smaller", "somebody/sparse", "--private", "true")
    assert done.returncode == 0, done.stderr
    assert f"{server.address}/somebody/sparse/commit/" in done.stdout
    assert set(server.models["somebody/sparse"]) == {FILES["pytorch"], CARD, REPORT}
    assert server.private == {"somebody/sparse"}
    assert server.models["somebody/sparse"][CARD].startswith(b"---\nlibrary_name: sparsity\n")
    done = run("pull", "somebody/sparse", "--output", "back")
    assert done.returncode == 0, done.stderr
    back = tmp_path / "back"
    assert {file.name for file in back.iterdir()} == {FILES["pytorch"], CARD, REPORT}
    assert all(
        (back / file.name).read_bytes() == file.read_bytes() for file in exported.iterdir() if file.suffix != ".txt"
    )
    inputs = torch.randn(3, 1, 4, 4)
    with torch.no_grad():
        assert torch.equal(load_network(exported).eval()(inputs), load_network(back).eval()(inputs))


def test_what_cannot_be_is_one_sentence_and_leaves_nothing(
    run: Run, exported: Path, server: Hub, tmp_path: Path
) -> None:
    server.models["somebody/other"] = {"model.bin": b"x"}
    for words, said in [
        (["push", ".", "a/b"], "is no folder that sparsity export wrote"),
        (["push", "smaller", "a/b/c"], "is like user/name"),
        (["pull", "nobody/nothing", "--output", "o"], "the Hub has no model nobody/nothing"),
        (["pull", "somebody/other", "--output", "o"], "holds nothing that sparsity export wrote"),
        (["pull", "somebody/other", "--output", "o", "--revision", "v9"], "has no such revision"),
        (["pull", "somebody/other", "--output", "smaller"], "smaller exists already"),
    ]:
        done = run(*words)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "o").exists()
    assert server.models.keys() == {"somebody/other"}


def test_without_a_token_or_a_network_it_says_so(run: Run, exported: Path) -> None:
    done = run("push", "smaller", "somebody/sparse", HF_TOKEN="wrong")
    assert (done.returncode, "hf auth login" in done.stderr) == (2, True)
    done = run("pull", "somebody/sparse", "--output", "o", HF_ENDPOINT="http://127.0.0.1:9")
    assert (done.returncode, "cannot be reached" in done.stderr) == (2, True)


def test_torch_hub_makes_and_loads_networks(tmp_path: Path) -> None:
    network = torch.hub.load(str(ROOT), "network", "FC", source="local", width=7)
    assert isinstance(network, FC)
    save_checkpoint(network, tmp_path / "a.ckpt")
    loaded = torch.hub.load(str(ROOT), "load", str(tmp_path / "a.ckpt"), source="local")
    inputs = torch.randn(2, 1, 28, 28)
    assert torch.equal(loaded(inputs), network(inputs))
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").touch()
    (tmp_path / "a.ckpt").rename(run / "checkpoints" / "last.ckpt")
    loaded = torch.hub.load(str(ROOT), "load", str(run), source="local")
    assert torch.equal(loaded(inputs), network(inputs))
    with pytest.raises(ValueError, match="there is no network 'os'"):
        torch.hub.load(str(ROOT), "network", "os", source="local")
