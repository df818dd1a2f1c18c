"""`export`, through the command line."""

import importlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sparsity.interop import load_network, save_checkpoint
from sparsity.masks import add_masks, density, masks, set_mask
from sparsity.networks import FC

QUIET = ["--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"]


def sparse_checkpoint(path: Path, kept: float = 0.02) -> FC:
    torch.manual_seed(0)
    network = FC(depth=3, width=30)
    add_masks(network)
    set_mask(network, {name: torch.rand(mask.shape) < kept for name, mask in masks(network).items()})
    with torch.no_grad():
        for layer in (network.fc1, network.fc2):
            layer.bias.normal_()
    save_checkpoint(network, path)
    return network


def report(folder: Path) -> Any:
    return json.loads((folder / "report.json").read_text())


def accuracy(out: str) -> float:
    (line,) = [line for line in out.splitlines() if "test/accuracy" in line]
    return float(line.split("│")[2])


@pytest.mark.parametrize("format", ["pytorch", "safetensors"])
def test_a_folder_has_network_card_and_report_and_is_tested(format: str, sparsity: Any, tmp_path: Path) -> None:
    network = sparse_checkpoint(tmp_path / "a.ckpt")
    out = tmp_path / "some" / "out"
    outcome = sparsity("export", tmp_path / "a.ckpt", "--output", out, "--format", format, "--data", "Digits")
    assert outcome.code == 0, outcome.err
    found = report(out)
    assert sorted(os.listdir(out)) == sorted(["README.md", "report.json", found["file"]])
    assert os.listdir(out.parent) == ["out"]
    assert found["before"]["parameters"] == 784 * 30 + 30 + 30 * 30 + 30 + 30 * 10
    assert found["before"]["multiply_adds"] == 784 * 30 + 30 * 30 + 30 * 10
    smaller = load_network(out)
    assert found["after"]["parameters"] == sum(p.numel() for p in smaller.parameters())
    assert found["after"]["parameters"] < found["before"]["parameters"]
    units = [found["layers"][f"fc{n}"]["units"] for n in (1, 2, 3)]
    assert found["after"]["multiply_adds"] == 784 * units[0] + units[0] * units[1] + units[1] * 10
    assert found["origin"]["density"] == pytest.approx(density(network))
    assert max(found["deviation"].values()) <= 1e-5
    assert found["deviation"].keys() == {"random", "test"}
    assert found["file_bytes"] == (out / found["file"]).stat().st_size
    for text in ("Units taken out", "largest deviation", "test accuracy", f"written to {out}"):
        assert text in outcome.out

    tested = [
        sparsity("test", "--data", "Digits", "--model.network", "FC", *sizes, "--ckpt_path", path, *QUIET)
        for path, sizes in (
            (out, ["--model.network.width", "7"]),  # the file knows better
            (tmp_path / "a.ckpt", ["--model.network.depth", "3", "--model.network.width", "30"]),
        )
    ]
    assert [one.code for one in tested] == [0, 0], tested[0].err
    # Of the same images, so to the last one of them.
    assert accuracy(tested[0].out) == accuracy(tested[1].out) == pytest.approx(found["accuracy"]["after"], abs=1e-6)
    assert found["accuracy"]["before"] == found["accuracy"]["after"]
    predicted = sparsity("predict", "--data", "Digits", "--model.network", "FC", "--ckpt_path", out, *QUIET,
                         "--output", tmp_path / "predictions")  # fmt: skip
    assert predicted.code == 0, predicted.err
    analysed = sparsity("analyze", out, tmp_path / "a.ckpt", "--output", tmp_path / "analysis", "--figures", "none")
    assert analysed.code == 0, analysed.err
    fitted = sparsity("fit", "--data", "Digits", "--model.network", "FC", "--ckpt_path", out, *QUIET,
                      "--trainer.default_root_dir", tmp_path)  # fmt: skip
    assert fitted.code == 2
    assert "was written by export and holds nothing of a fit" in fitted.err


@pytest.mark.parametrize("format", ["pytorch", "safetensors", "onnx", "torch-export"])
def test_the_code_of_the_card_loads_the_network(format: str, sparsity: Any, tmp_path: Path) -> None:
    if format == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    sparse_checkpoint(tmp_path / "a.ckpt")
    out = tmp_path / "out"
    outcome = sparsity("export", tmp_path / "a.ckpt", "--output", out, "--format", format, "--data", "Digits")
    assert outcome.code == 0, outcome.err
    card = (out / "README.md").read_text()
    for line in (
        "- density of the weights that can be pruned: 0.0",
        "- test accuracy on Digits, after: ",
        "Inputs are pixels in [0, 1], minus 0.305, divided by 0.324.",
        "| parameters | 24,780 | ",
    ):
        assert line in card
    code = card.split("```python\n")[1].split("```")[0]
    assert len(code.splitlines()) <= 10
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    expected = load_network(tmp_path / "a.ckpt").eval()(torch.zeros(1, 1, 28, 28))
    torch.testing.assert_close(torch.as_tensor(names["outputs"]), expected.detach())


def test_a_network_with_nothing_to_take_out_comes_out_equal_with_a_sentence(sparsity: Any, tmp_path: Path) -> None:
    save_checkpoint(FC(depth=3, width=8), tmp_path / "dense.ckpt")
    outcome = sparsity("export", tmp_path / "dense.ckpt", "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "Nothing could be taken out: it is the network as it was." in outcome.out
    assert report(tmp_path / "out")["deviation"] == {"random": 0.0}
    before, after = (load_network(path).state_dict() for path in (tmp_path / "dense.ckpt", tmp_path / "out"))
    assert all(torch.equal(tensor, after[key]) for key, tensor in before.items())


def test_layers_keep_their_sizes_if_asked(sparsity: Any, tmp_path: Path) -> None:
    network = sparse_checkpoint(tmp_path / "a.ckpt")
    outcome = sparsity("export", tmp_path / "a.ckpt", "--output", tmp_path / "out", "--compact", "false",
                       "--format", "safetensors")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "Its layers have the sizes that they had." in outcome.out
    loaded = load_network(tmp_path / "out").state_dict()
    assert all(torch.equal(tensor, loaded[key]) for key, tensor in network.state_dict().items())
    assert report(tmp_path / "out")["file_bytes"] < 0.1 * report(tmp_path / "out")["before"]["bytes"]


def test_a_runs_folder_says_method_density_and_accuracy(sparsity: Any, tmp_path: Path, save_run: Any) -> None:
    folder = save_run("version_0", method="SynFlow", asked=0.25, accuracy=0.9)
    outcome = sparsity("export", folder, "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    card = (tmp_path / "out" / "README.md").read_text()
    assert "- method: SynFlow\n" in card
    assert "(0.25 asked)" in card
    assert "- test accuracy that its run recorded: 90.00%" in card


OWN = """
from torch import nn

class Own(nn.Module):
    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.conv, self.back = nn.Conv2d(1, width, 3), nn.Conv2d(width, width, 3)
        self.head = nn.Linear(width, 10)

    def forward(self, images):
        return self.head(self.back(self.conv(images).relu()).relu().mean((2, 3)))
"""


@pytest.mark.filterwarnings("default:Own has zeros and no masks")
def test_a_network_of_ones_own_class_is_exported_and_tested(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "exported_net.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    network: nn.Module = importlib.import_module("exported_net").Own()
    with torch.no_grad():
        network.head.weight[:, 2] = 0  # nobody reads the third
        network.back.weight[:, 4] = 0
    torch.save(network.state_dict(), tmp_path / "own.pt")
    named = ["--network", "exported_net.Own"]
    out = tmp_path / "out"
    outcome = sparsity("export", tmp_path / "own.pt", *named, "--output", out)
    assert outcome.code == 2
    assert "Own does not say what it takes; give input_shape" in outcome.err
    outcome = sparsity("export", tmp_path / "own.pt", *named, "--output", out, "--input_shape", "[1,28,28]")
    assert outcome.code == 0, outcome.err
    assert {name: layer["units"] for name, layer in report(out)["layers"].items()} == {"conv": 5, "back": 5, "head": 10}
    tested = sparsity("test", "--data", "Digits", "--model.network", "exported_net.Own", "--ckpt_path", out, *QUIET)
    assert tested.code == 0, tested.err
    assert "network = ...  # of the class Own, with the sizes that it had before" in (out / "README.md").read_text()
    again = sparsity("export", out, *named, "--output", tmp_path / "again", "--format", "torch-export",
                     "--input_shape", "[1,28,28]")  # fmt: skip
    assert again.code == 0, again.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.ckpt", "--output", "out"], "there is no file nowhere.ckpt"),
        (["noise.ckpt", "--output", "out"], "noise.ckpt is damaged"),
        (["a.ckpt", "--output", "full"], "full exists and is not overwritten; give another folder"),
        (["a.ckpt", "--output", "a.ckpt"], "a.ckpt exists and is not overwritten; give another folder"),
        (["a.ckpt", "--output", "a.ckpt/out"], "cannot write a.ckpt/out"),
        (["a.ckpt", "--output", "out", "--format", "tflite"], "format"),
        (["a.ckpt"], "output"),
        (["full", "--output", "out"], "full is a folder without a checkpoint"),
        (["other.ckpt", "--output", "out", "--data", "Digits"], "FC cannot take"),
    ],
)
def test_wrong_input_is_one_sentence_and_nothing_is_written(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    sparse_checkpoint(Path("a.ckpt"))
    save_checkpoint(FC((1, 9, 9), depth=2, width=4), "other.ckpt")
    Path("noise.ckpt").write_bytes(bytes(range(256)))
    Path("full").mkdir()
    Path("full/something").touch()
    before = sorted(tmp_path.rglob("*"))
    outcome = sparsity("export", *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), None])
def test_what_goes_wrong_on_the_way_leaves_nothing(
    error: BaseException | None, sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sparse_checkpoint(tmp_path / "a.ckpt")

    def fail(*_: object) -> str:
        if error is not None:
            raise error
        return "a card"

    monkeypatch.setattr("sparsity.cli.export.card", fail)
    if error is None:  # somebody else is faster
        monkeypatch.setattr("sparsity.cli.export._accuracies", lambda *_: (tmp_path / "out" / "theirs").mkdir(parents=True) or {})  # noqa: E501 # fmt: skip
    outcome = sparsity("export", tmp_path / "a.ckpt", "--output", tmp_path / "out")
    assert outcome.code == (130 if isinstance(error, KeyboardInterrupt) else 2)
    left = {"a.ckpt", "out"} if error is None else {"a.ckpt"}
    assert {path.name for path in tmp_path.iterdir()} == left


def test_outputs_that_differ_are_an_error_and_nothing_is_left(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sparse_checkpoint(tmp_path / "a.ckpt")
    other = FC(depth=3, width=30).eval()
    monkeypatch.setattr("sparsity.cli.export.read_back", lambda *_: other)
    outcome = sparsity("export", tmp_path / "a.ckpt", "--output", tmp_path / "out")
    assert outcome.code == 2
    assert (
        "from those of the network before, more than the 1e-05 that rounding makes; nothing was written" in outcome.err
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]
