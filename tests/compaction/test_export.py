"""Networks as files of every format: read back, they compute the same, and what cannot be written is named."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsity.checkpoints.exported import FILES, Format
from sparsity.compaction import compact
from sparsity.compaction.compact import without_negative_zeros
from sparsity.compaction.export import read_back, require_packages, write_network
from sparsity.compaction.outputs import deviation, difference, outputs_of, random_batches
from sparsity.errors import SparsityError
from sparsity.graph.sample import sample_of
from sparsity.interop import load_network
from sparsity.masks import density, masks
from sparsity.networks import FC, ResNet20, ViT, WideResNet
from tests.compaction.test_compact import wild
from tests.graph.networks import Calls, last_step

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], float]] = {
    "FC": (lambda: FC((5,), 3, depth=4, width=12, bias="none"), (5,), 0.2),
    "ResNet": (lambda: ResNet20(width=4), (3, 32, 32), 0.05),
    "WideResNet": (lambda: WideResNet(10, 1), (3, 32, 32), 0.03),
    "ViT": (lambda: ViT(dim=12, depth=1, heads=3, mlp_dim=24), (3, 32, 32), 0.1),
    "LSTM": (last_step, (7, 4), 0.3),
}  # fmt: skip


def available(format: Format) -> None:
    try:
        require_packages(format)
    except SparsityError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("format", FILES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_smaller_network_computes_the_same_from_its_file(name: str, format: Format, tmp_path: Path) -> None:
    available(format)
    make, shape, kept = NETWORKS[name]
    network = wild(make(), kept)
    found = compact(network, shape)
    sample = sample_of(network, shape)
    before = {key: tensor.clone() for key, tensor in found.network.state_dict().items()}
    batch = write_network(found.network, network, sample, format, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [FILES[format]]
    assert batch is None or name == "LSTM"
    after = read_back(tmp_path, format, network, batch)
    assert deviation(network, after, random_batches(sample)) <= (1e-4 if format == "onnx" else 1e-5)
    assert all(torch.equal(tensor, before[key]) for key, tensor in found.network.state_dict().items())


def test_a_read_network_has_the_sizes_that_were_left_and_masks_of_what_is_not_zero(tmp_path: Path) -> None:
    network = wild(FC((5,), 3, depth=4, width=12), 0.2)
    found = compact(network).network
    write_network(found, network, sample_of(network), "pytorch", tmp_path)
    loaded = load_network(tmp_path)
    assert isinstance(loaded, FC)
    assert {key: tuple(tensor.shape) for key, tensor in loaded.named_parameters()} == {
        key: tuple(tensor.shape) for key, tensor in found.named_parameters()
    }
    assert all(torch.equal(mask, found.get_submodule(name).weight != 0) for name, mask in masks(loaded).items())
    assert 0 < density(loaded) < 1


def test_a_safetensors_file_holds_no_zeros(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    network = wild(FC((400,), 10, depth=2, width=300), 0.02)
    without_negative_zeros(network)
    sample = sample_of(network)
    for format in ("pytorch", "safetensors"):
        write_network(network, network, sample, format, tmp_path)
    sizes = {name: (tmp_path / FILES[name]).stat().st_size for name in ("pytorch", "safetensors")}
    assert sizes["safetensors"] < 0.04 * sizes["pytorch"]  # 2 % values, their positions, biases and names
    loaded = load_network(tmp_path / "model.safetensors")
    assert all(torch.equal(tensor, loaded.state_dict()[key]) for key, tensor in network.state_dict().items())


def forward_of_two(self: nn.Module, ids: Tensor, scale: Tensor) -> dict[str, Tensor]:
    return {"logits": self.out(self.table(ids)).sum(1) * scale, "scale": scale}


@pytest.mark.parametrize("format", FILES)
@pytest.mark.parametrize("by_name", [False, True])
def test_several_inputs_and_outputs_of_any_kind(format: Format, by_name: bool, tmp_path: Path) -> None:
    available(format)

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.out = nn.Embedding(7, 4), nn.Linear(4, 3)

        forward = forward_of_two

    network = Two().eval()
    ids, scale = torch.tensor([[1, 2, 6]]), torch.ones(1, 3)
    sample: Any = {"ids": ids, "scale": scale} if by_name else (ids, scale)
    batch = write_network(network, network, sample, format, tmp_path)
    assert batch is None
    after = read_back(tmp_path, format, network, batch)
    assert deviation(network, after, random_batches(sample)) <= 1e-5


@pytest.mark.parametrize("format", ["onnx", "torch-export"])
def test_code_that_counts_on_a_number_of_samples_is_written_for_that_of_the_sample(
    format: Format, tmp_path: Path
) -> None:
    available(format)
    network = Calls(lambda self, x: self.a(x) + x.new_zeros(len(x), 3), a=nn.Linear(4, 3)).eval()
    sample = sample_of(network, (4,))
    batch = write_network(network, network, sample, format, tmp_path)
    assert batch == 1
    after = read_back(tmp_path, format, network, batch)
    samples = torch.randn(5, 4)
    assert difference(outputs_of(network, samples), outputs_of(after, samples)) <= 1e-5


def test_an_operation_without_counterpart_in_onnx_is_named(tmp_path: Path) -> None:
    available("onnx")
    network = Calls(lambda self, x: torch.special.bessel_j0(self.a(x)), a=nn.Linear(4, 3)).eval()
    with pytest.raises(SparsityError, match=r"cannot be exported: the operation \w+\.bessel_j0 has no counterpart"):
        write_network(network, network, sample_of(network, (4,)), "onnx", tmp_path)
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named_with_the_way_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsity.compaction.export.find_spec", lambda name: None)
    with pytest.raises(SparsityError, match=r"onnx needs onnx and onnxscript and onnxruntime, not installed here; run"):
        require_packages("onnx")
    require_packages("pytorch")
    require_packages("torch-export")


def test_files_name_no_folder_of_the_machine_they_were_written_on(tmp_path: Path) -> None:
    network = FC((4,), 3, depth=2, width=3).eval()
    root = str(Path(__file__).parent.parent.parent).encode()
    for format in FILES:
        available(format)
        write_network(network, network, sample_of(network), format, tmp_path)
        content = (tmp_path / FILES[format]).read_bytes()
        assert root not in content
        assert b"site-packages" not in content


def test_random_inputs_are_a_thousand_and_the_edges_and_whole_numbers_stay_in_range() -> None:
    batches = list(random_batches((torch.zeros(1, 2, 3), torch.tensor([[3, 7]]), torch.tensor([[True]]))))
    numbers = torch.cat([batch[0] for batch in batches])
    assert numbers.shape == (1004, 2, 3)
    assert numbers[:1000].std().item() == pytest.approx(1, abs=0.05)
    assert (numbers[1000] == 0).all()
    assert (numbers[1001] == 1).all()
    assert (numbers[1002] == -1).all()
    assert numbers[1003].abs().max() > 50
    ids = torch.cat([batch[1] for batch in batches])
    assert set(ids.flatten().tolist()) == {3, 4, 5, 6, 7}
    assert torch.cat([batch[2] for batch in batches]).all()


@pytest.mark.parametrize(
    ("expected", "found", "apart"),
    [
        ([1.0, -4.0], [1.0, -4.5], 0.125),  # of the largest, 4
        ([0.5, 0.25], [0.5, 0.5], 0.25),  # absolute below 1
        ([1.0], [float("nan")], float("inf")),
        ([1.0], [1.0, 1.0], float("inf")),
        ([], [], 0.0),
    ],
)
def test_differences_are_relative_to_the_largest_output(
    expected: list[float], found: list[float], apart: float
) -> None:
    assert difference([torch.tensor(expected)], [torch.tensor(found)]) == apart


def test_a_file_of_another_size_is_taken_only_if_export_wrote_it(tmp_path: Path) -> None:
    network = wild(ResNet20(width=4), 0.05)
    found = compact(network).network
    write_network(found, network, sample_of(network), "pytorch", tmp_path)
    content: Mapping[str, Any] = torch.load(tmp_path / "model.pt", weights_only=True)
    load_network(tmp_path)
    torch.save({key: value for key, value in content.items() if key != "sparsity_export"}, tmp_path / "other.ckpt")
    with pytest.raises(SparsityError, match=r"must be shaped \[\d+, "):
        load_network(tmp_path / "other.ckpt")
