"""Every engine computes what the network does."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from sparsity.compaction.engines import prepared, require
from sparsity.compaction.export import require_packages
from sparsity.errors import SparsityError
from sparsity.masks import add_masks, masks, set_mask
from sparsity.networks import FC, ResNet20, ViT
from tests.graph.networks import Calls, last_step


def half(network: nn.Module) -> nn.Module:
    add_masks(network)
    set_mask(network, {name: torch.rand(mask.shape) < 0.3 for name, mask in masks(network).items()})
    return network.eval()


@pytest.mark.parametrize("engine", ["torch", "csr"])
def test_outputs_are_the_networks_own(engine: str) -> None:
    network = half(FC((6,), 3, depth=3, width=5))
    run = prepared(network, engine)  # type: ignore[arg-type]
    assert run is not None
    samples = torch.randn(4, 6)
    torch.testing.assert_close(run(samples), network(samples))
    assert masks(network)  # which a copy lost


def test_layers_of_tokens_are_sparse_products_too() -> None:
    network = half(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2, bias=False)))
    run = prepared(network, "csr")
    assert run is not None
    samples = torch.randn(2, 3, 4)
    torch.testing.assert_close(run(samples), network(samples))


def test_a_network_without_sparse_linear_layers_has_no_use_for_sparse_products() -> None:
    assert prepared(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 2)), "csr") is None


@pytest.fixture
def onnx_runtime() -> Any:
    try:
        require_packages("onnx")
    except SparsityError as error:
        pytest.skip(str(error))
    return pytest.importorskip("onnxruntime")


@pytest.mark.usefixtures("onnx_runtime")
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: FC((6,), 3, depth=3, width=5), (6,)),
        (lambda: ResNet20(width=4), (3, 32, 32)),
        (lambda: ViT(dim=12, depth=1, heads=3, mlp_dim=24), (3, 32, 32)),
        (lambda: FC((6,), 3, depth=3, width=5, bias="none").double(), (6,)),
    ],
    ids=["FC", "ResNet", "ViT", "float64"],
)
def test_onnx_runtime_computes_the_same_for_any_number_of_samples(
    make: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    network = half(make())
    before = copy.deepcopy(network.state_dict())
    run = prepared(network, "onnx")
    assert run is not None
    for size in (1, 7):
        samples = torch.randn(size, *shape, dtype=next(network.parameters()).dtype)
        with torch.no_grad():
            torch.testing.assert_close(run(samples), network(samples), atol=1e-4, rtol=1e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.usefixtures("onnx_runtime")
def test_onnx_runtime_takes_a_network_whose_code_counts_on_one_sample() -> None:
    network = Calls(lambda self, x: self.a(x) + x.new_zeros(len(x), 3), a=nn.Linear(4, 3)).eval()
    run = prepared(network, "onnx", (4,))
    assert run is not None
    samples = torch.randn(3, 4)
    (found,) = run(samples)  # type: ignore[misc]
    torch.testing.assert_close(found, network(samples).detach(), atol=1e-4, rtol=1e-4)


def test_onnx_runtime_has_as_many_threads_as_torch(onnx_runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = onnx_runtime.InferenceSession
    threads = list[int]()

    def noted(model: Any, options: Any, **others: Any) -> Any:
        threads.append(options.intra_op_num_threads)
        return made(model, options, **others)

    monkeypatch.setattr(onnx_runtime, "InferenceSession", noted)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        run = prepared(half(FC((6,), 3, depth=3, width=5)), "onnx")
        assert run is not None
        for count in (1, 2, 2, 1):
            torch.set_num_threads(count)
            run(torch.zeros(2, 6))
    finally:
        torch.set_num_threads(before)
    assert threads == [1, 2]


@pytest.mark.usefixtures("onnx_runtime")
@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            Calls(lambda self, x: torch.special.bessel_j0(self.a(x)), a=nn.Linear(4, 3)),
            "Calls cannot be exported: the",
        ),
        (nn.Conv1d(3, 2, 1).double(), r"ONNX Runtime cannot run the network: .*NOT_IMPLEMENTED.* Conv\("),
        pytest.param(
            last_step().double(),
            "ONNX Runtime cannot run the network: .*LSTM operator does not support double",
            marks=pytest.mark.skipif(torch.__version__.startswith("2.6."), reason="PyTorch 2.6 writes LSTMs out"),
        ),
    ],
    ids=["no operation", "no kernel", "no kernel in a pass"],
)
def test_what_onnx_runtime_cannot_run_is_refused_before_it_is_timed(network: nn.Module, message: str) -> None:
    with pytest.raises(SparsityError, match=message):
        prepared(network.eval(), "onnx", (3, 4))


def test_engines_that_are_not_here_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SparsityError, match="engine must be one of torch, compile, csr, onnx"):
        prepared(FC(), "openvino")  # type: ignore[arg-type]
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SparsityError, match=r"needs a C\+\+ compiler"):
        require("compile")
    monkeypatch.setattr("sparsity.compaction.export.find_spec", lambda name: None if name == "onnxruntime" else name)
    with pytest.raises(SparsityError, match=r"onnx needs onnxruntime, not installed here; run pip install"):
        require("onnx")
