"""`analyze` and `convert`, through the command line."""

import csv
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from sparsity.analysis import gradient_norm
from sparsity.cli.analyze_figures import names_of_files
from sparsity.datamodules import Digits
from sparsity.evaluation import read_test_images
from sparsity.interop import load_network, save_checkpoint
from sparsity.masks import add_masks, density, masks, set_mask
from sparsity.networks import FC, ResNet


def sparse_checkpoint(path: Path, seed: int, **options: Any) -> Path:
    torch.manual_seed(seed)
    network = FC(depth=3, width=8, **options)
    add_masks(network)
    set_mask(network, {name: torch.rand(mask.shape) < 0.3 for name, mask in masks(network).items()})
    save_checkpoint(network, path)
    return path


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_networks_of_one_architecture_are_analysed_and_compared(sparsity: Any, tmp_path: Path) -> None:
    paths = [sparse_checkpoint(tmp_path / f"{name}.ckpt", seed) for seed, name in enumerate("abc")]
    out = tmp_path / "out"
    outcome = sparsity("analyze", *paths, "--output", out, "--data", "Digits", "--images", "50")
    assert outcome.code == 0, outcome.err
    assert str(out) in outcome.out
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary) == ["a", "b", "c"]
    assert summary["a"]["density"] == pytest.approx(density(load_network(paths[0])))
    assert 0 <= summary["a"]["test_accuracy"] <= 1
    assert len(rows(out / "layers.csv")) == 9
    assert len(rows(out / "units.csv")) == 3 * (8 + 8 + 10)
    assert len(rows(out / "distances.csv")) == 3 * 3 * 3  # pairs, measures, layers
    (record,) = json.loads((out / "distances.json").read_text())
    matrix = record["measures"]["nnstd"]["mean"]
    assert [matrix[i][i] for i in range(3)] == [0, 0, 0]
    assert matrix[0][1] == matrix[1][0] > 0
    assert sorted(record["matchings"][0]["layers"]["fc1"]) == list(range(8))
    assert sparsity("analyze", *paths, "--output", tmp_path / "print", "--data", "Digits", "--figures", "pdf").code == 0
    for figure in ("density", "nnstd", "correlation", "first_layer", "runs"):
        assert (out / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
        assert (tmp_path / "print" / f"{figure}.pdf").read_bytes().startswith(b"%PDF")
    assert not list(out.glob("*.pdf"))


@pytest.mark.filterwarnings("default:accuracy is not measured")
@pytest.mark.parametrize("command", ["analyze", "report"])
def test_accuracy_is_left_out_with_a_line_where_labels_do_not_fit_the_outputs(
    command: str, sparsity: Any, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{name}.ckpt" for name in "ab"]
    for path in paths:
        save_checkpoint(FC(num_classes=5, depth=2, width=8), path)
    out = tmp_path / "out"
    with pytest.warns(UserWarning, match="accuracy is not measured and is left out: labels go from 0 to 9, and"):
        outcome = sparsity(command, *paths, "--output", out, "--data", "Digits", "--images", "50")
    assert outcome.code == 0, outcome.err
    if command == "analyze":
        assert "test_accuracy" not in json.loads((out / "summary.json").read_text())["a"]
        assert len(rows(out / "distances.csv")) == 3 * 2  # measures, layers
    else:
        assert (out / "index.html").exists()


def test_one_network_alone_works_too(sparsity: Any, tmp_path: Path) -> None:
    path = sparse_checkpoint(tmp_path / "a.ckpt", 0)
    outcome = sparsity("analyze", path, "--output", tmp_path / "out", "--names", "mine")
    assert outcome.code == 0, outcome.err
    assert {row["network"] for row in rows(tmp_path / "out" / "layers.csv")} == {"mine"}
    assert not (tmp_path / "out" / "distances.csv").exists()


def test_figures_that_nobody_asked_for_are_not_drawn(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sparsity.cli.analyze_figures", None)  # an import would raise
    path = sparse_checkpoint(tmp_path / "a.ckpt", 0)
    outcome = sparsity("analyze", path, "--output", tmp_path / "out", "--figures", "none")
    assert outcome.code == 0, outcome.err
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"layers.csv", "units.csv", "summary.json"}


def test_other_architectures_are_compared_among_their_own(sparsity: Any, tmp_path: Path) -> None:
    small = [sparse_checkpoint(tmp_path / f"{name}.ckpt", seed) for seed, name in enumerate("ab")]
    resnet = ResNet(depth=8, width=2)
    add_masks(resnet)
    save_checkpoint(resnet, tmp_path / "c.ckpt")
    outcome = sparsity("analyze", *small, tmp_path / "c.ckpt", "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "different architectures" in outcome.out
    assert {(row["a"], row["b"]) for row in rows(tmp_path / "out" / "distances.csv")} == {("a", "b")}
    assert (tmp_path / "out" / "group_2_common_kernels.png").is_file()


def test_names_come_from_as_much_of_the_path_as_tells_files_apart(sparsity: Any, tmp_path: Path) -> None:
    folders = [tmp_path / run / "checkpoints" for run in ("version_0", "version_1")]
    for folder in folders:
        folder.mkdir(parents=True)
        sparse_checkpoint(folder / "last.ckpt", 1)
    sparsity("analyze", *(folder / "last.ckpt" for folder in folders), "--output", tmp_path / "out")
    assert list(json.loads((tmp_path / "out" / "summary.json").read_text())) == ["version_0/last", "version_1/last"]


def test_our_own_run_and_published_networks_go_together(sparsity: Any, tmp_path: Path, reference: Path) -> None:
    ours = sparsity("fit", "--data", "Digits", "--data.limit", "64", "--model.network", "FC", "--pruner", "SynFlow",
                    "--pruner.density", "0.1", "--pruner.iterations", "2", "--trainer.max_epochs", "1",
                    "--trainer.enable_progress_bar", "false", "--trainer.default_root_dir", tmp_path)  # fmt: skip
    assert ours.code == 0, ours.err
    last = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    published = [reference / "published" / "FC" / name for name in ("synflow_10_21.pt", "gem_miner_10_21.pth")]
    outcome = sparsity("analyze", last, *published, "--output", tmp_path / "out", "--names", "ours", "synflow", "gem")
    assert outcome.code == 0, outcome.err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [summary[name]["kept"] for name in ("ours", "synflow", "gem")] == [11_940, 11_940, 3_516]


def test_a_published_network_is_converted_and_tests_as_recorded(sparsity: Any, tmp_path: Path, reference: Path) -> None:
    published = reference / "published" / "FC" / "synflow_10_21.pt"
    outcome = sparsity("convert", published, "--output", tmp_path / "run.ckpt")
    assert outcome.code == 0, outcome.err
    assert "(synflow_fc): FC at density 0.1 (11,940 of 119,400 weights)" in outcome.out
    tested = sparsity("test", "--data", "MNIST", "--data.data_dir", reference / "data", "--model.network", "FC",
                      "--ckpt_path", tmp_path / "run.ckpt", "--trainer.default_root_dir", tmp_path,
                      "--trainer.enable_progress_bar", "false")  # fmt: skip
    assert tested.code == 0, tested.err
    accuracy = next(line for line in tested.out.splitlines() if "test/accuracy" in line)
    assert "0.9559" in accuracy


def test_a_network_of_open_lths_is_converted_with_the_masks_beside_it(sparsity: Any, tmp_path: Path) -> None:
    shapes = {"fc_layers.0": (300, 784), "fc_layers.1": (100, 300), "fc": (10, 100)}
    state = {f"{name}.weight": torch.randn(shape) for name, shape in shapes.items()}
    drawn = {name: torch.arange(weight.numel()).view_as(weight) % 5 == 0 for name, weight in state.items()}
    state |= {f"{name}.bias": torch.randn(shape[0]) for name, shape in shapes.items()}
    torch.save(state, tmp_path / "model_ep40_it0.pth")
    torch.save({name: mask.int() for name, mask in drawn.items()}, tmp_path / "mask.pth")
    outcome = sparsity("convert", tmp_path / "model_ep40_it0.pth", "--output", tmp_path / "run.ckpt")
    assert outcome.code == 0, outcome.err
    assert "(open_lth_lenet): FC at density 0.2 (53,240 of 266,200 weights)" in outcome.out
    assert outcome.err.count("model_ep40_it0.pth: the masks are those in mask.pth beside it") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["analyze", "nowhere.ckpt", "--output", "out"], "there is no file nowhere.ckpt"),
        (["analyze", "a.ckpt", "a.ckpt", "--output", "out"], "a.ckpt is given twice"),
        (["analyze", "a.ckpt", "--output", "out", "--names", "x", "y"], "one name per checkpoint"),
        (["analyze", "a.ckpt", "--output", "full"], "full is not empty"),
        (["analyze", "a.ckpt", "--output", "out", "--images", "0"], "images must be a whole number of at least 1"),
        (["analyze", "a.ckpt", "noise.ckpt", "--output", "out"], "noise.ckpt is damaged"),
        (["analyze", "other.ckpt", "--output", "out", "--data", "Digits"], "the data do not fit: FC cannot take"),
        (["analyze", "a.ckpt"], "output"),
        (["analyze", "a.ckpt", "--output", "out", "--figures", "jpg"], "figures"),
        (["convert", "noise.ckpt", "--output", "new.ckpt"], "noise.ckpt is damaged"),
        (["convert", "a.ckpt", "--output", "a.ckpt"], "a.ckpt exists and is not overwritten"),
    ],
)
def test_wrong_input_is_one_sentence_and_nothing_is_written(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    sparse_checkpoint(Path("a.ckpt"), 0)
    sparse_checkpoint(Path("other.ckpt"), 0, input_shape=(1, 9, 9))
    Path("noise.ckpt").write_bytes(bytes(range(256)))
    Path("full").mkdir()
    Path("full/something").touch()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    outcome = sparsity(*arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_names_are_plain_text_and_their_files_never_collide(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for k in range(4):
        save_checkpoint(FC(width=5 + k, depth=2), f"{k}.ckpt")
    names = ["[/red]", "a/b", "a_b", "x" * 80]
    files = [f"{k}.ckpt" for k in range(4)]
    outcome = sparsity("analyze", *files, "--output", "out", "--names", *names, "--data", "Digits", "--images", "20")
    assert outcome.code == 0, outcome.err
    assert "[/red]" in outcome.out
    found = names_of_files([*names, "A_B", "..", "é"])
    assert len({text.lower() for text in found.values()}) == 7
    assert not any("/" in text for text in found.values())
    assert {found["a/b"], found["a_b"]} == {"a_b", "a_b_2"}


@pytest.mark.parametrize("name", ["", "x" * 300, "a\nb", "\ud800"])
def test_names_that_cannot_be_are_refused_before_anything_is_computed(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(FC(width=5, depth=2), "a.ckpt")
    outcome = sparsity("analyze", "a.ckpt", "--output", "out", "--names", name)
    assert outcome.code == 2
    assert "a name has 1 to 80 characters on one line" in outcome.err
    assert not Path("out").exists()


def test_a_runs_folder_stands_for_its_best_checkpoint(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run/checkpoints").mkdir(parents=True)
    assert "run is a folder without a checkpoint" in sparsity("analyze", "run", "--output", "out").err
    for name in ("last", "best"):
        save_checkpoint(FC(width=5, depth=2), f"run/checkpoints/{name}.ckpt")
        outcome = sparsity("analyze", "run", "--output", f"out_{name}")
        assert outcome.code == 0, outcome.err
        assert f"run is a folder; its network is run/checkpoints/{name}.ckpt" in outcome.out


OWN = """
from torch import nn

class Own(nn.Module):
    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.conv, self.back = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Linear(width, 10)

    def forward(self, images):
        found = self.conv(images).relu()
        return self.head((found + self.back(found)).mean((2, 3)))
"""


def test_networks_of_ones_own_class_are_analysed_if_the_user_names_it(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_net.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    make = importlib.import_module("own_net").Own
    paths = [tmp_path / f"{name}.pt" for name in "ab"]
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        network = make(width=7)
        add_masks(network)
        set_mask(network, {name: torch.rand(mask.shape) < 0.5 for name, mask in masks(network).items()})
        torch.save(network.state_dict(), path)
    (tmp_path / "own_net.yaml").write_text("class_path: own_net.Own\ninit_args: {width: 7}\n")
    named = ["--network", tmp_path / "own_net.yaml"]
    out = tmp_path / "out"
    outcome = sparsity("analyze", *paths, *named, "--data", "Digits", "--align", "propagate", "--output", out)
    assert outcome.code == 0, outcome.err
    summary = json.loads((out / "summary.json").read_text())
    assert summary["b"]["density"] == pytest.approx(density(network))
    assert len(rows(out / "distances.csv")) == 3 * 3

    outcome = sparsity("analyze", *paths, "--network", "own.yaml", "--output", tmp_path / "missing")
    assert (
        outcome.err
        == "error: network: there is no file own.yaml; give a class, or a YAML file with class_path and init_args\n"
    )
    outcome = sparsity("analyze", *paths, *named, "--output", tmp_path / "unsaid")
    assert outcome.code == 2
    assert "Own does not say what it takes; give input_shape" in outcome.err
    outcome = sparsity("analyze", *paths, *named, "--input_shape", "[1,9,9]", "--figures", "none",
                       "--output", tmp_path / "said")  # fmt: skip
    assert outcome.code == 0, outcome.err
    outcome = sparsity("analyze", *paths, "--output", tmp_path / "unnamed")
    assert outcome.code == 2
    assert "another class, which a file cannot name, give the network" in outcome.err
    outcome = sparsity("analyze", *paths, "--network", "own_net.Own", "--output", tmp_path / "wide")
    assert outcome.code == 2
    assert "must be shaped [6, 1, 3, 3], not [7, 1, 3, 3]" in outcome.err


def test_a_network_of_ones_own_class_is_converted_and_tested(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small_net.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    network = importlib.import_module("small_net").Own()
    add_masks(network)
    set_mask(network, {name: torch.rand(mask.shape) < 0.5 for name, mask in masks(network).items()})
    torch.save({"state_dict": {f"model.{name}": tensor for name, tensor in network.state_dict().items()}},
               tmp_path / "theirs.ckpt")  # fmt: skip
    named = ["--network", "small_net.Own"]
    outcome = sparsity("convert", tmp_path / "theirs.ckpt", *named, "--output", tmp_path / "ours.ckpt")
    assert outcome.code == 0, outcome.err
    assert f"Own at density {density(network):.6g}" in outcome.out
    tested = sparsity("test", "--data", "Digits", "--model.network", "small_net.Own",
                      "--trainer.accelerator", "cpu", "--ckpt_path", tmp_path / "ours.ckpt")  # fmt: skip
    assert tested.code == 0, tested.err
    loaded = load_network(tmp_path / "ours.ckpt", network=network)
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in loaded.state_dict().items())


def test_networks_of_torchvision_are_named_by_their_functions(sparsity: Any, tmp_path: Path) -> None:
    path = tmp_path / "squeezed.pt"
    torch.save(torchvision.models.squeezenet1_1(num_classes=3).state_dict(), path)
    outcome = sparsity("analyze", path, "--network", "torchvision.models.squeezenet1_1", "--network.num_classes", "3",
                       "--input_shape", "[3,64,64]", "--figures", "none", "--output", tmp_path / "out")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["squeezed"]["effective_density"] == 1


def test_curvature_is_added_where_it_is_asked_for_and_needs_labelled_data(sparsity: Any, tmp_path: Path) -> None:
    path = sparse_checkpoint(tmp_path / "a.ckpt", 0)
    given = ("analyze", path, "--output", tmp_path / "out", "--figures", "none", "--curvature", "true")
    outcome = sparsity(*given)
    assert outcome.code != 0
    assert "give data as well" in outcome.err
    outcome = sparsity(*given, "--data", "Digits", "--images", "20")
    assert outcome.code == 0, outcome.err
    assert "gradient" in outcome.out
    (found,) = json.loads((tmp_path / "out" / "summary.json").read_text()).values()
    assert {"hessian_top", "hessian_trace", "sharpness", "tangent_trace", "jacobian_std"} <= found.keys()
    images, labels = read_test_images(Digits())
    assert found["gradient_norm"] == pytest.approx(gradient_norm(load_network(path), images[:20], labels[:20]))


def test_a_tangent_kernel_that_has_no_room_is_left_out_and_said(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsity.analysis.landscape.trainability._LARGEST", 10)
    path = sparse_checkpoint(tmp_path / "a.ckpt", 0)
    with pytest.warns(UserWarning, match="the tangent kernel of a is left out: it has too many parameters"):
        outcome = sparsity("analyze", path, "--output", tmp_path / "out", "--figures", "none", "--curvature", "true",
                           "--data", "Digits", "--images", "20")  # fmt: skip
    assert outcome.code == 0, outcome.err
    (found,) = json.loads((tmp_path / "out" / "summary.json").read_text()).values()
    assert found["tangent_trace"] is None
    assert found["hessian_top"] > 0


def test_similarities_are_written_beside_correlations(sparsity: Any, tmp_path: Path) -> None:
    paths = [sparse_checkpoint(tmp_path / f"{name}.ckpt", seed) for seed, name in enumerate("ab")]
    out = tmp_path / "out"
    outcome = sparsity("analyze", *paths, "--output", out, "--data", "Digits", "--images", "50", "--figures", "none")
    assert outcome.code == 0, outcome.err
    assert all(heading in outcome.out for heading in ("CKA", "RBF CKA", "Procrustes", "SVCCA"))
    written = rows(out / "similarities.csv")
    assert [row["layer"] for row in written] == ["fc1", "fc2", "fc3"]
    assert list(written[0]) == ["a", "b", "layer", "linear_cka", "rbf_cka", "procrustes", "svcca"]
    assert all(0 < float(row["procrustes"]) < 1 for row in written)
