"""What is timed, against what; no test asserts how long anything takes."""

import pytest
import torch
from torch import nn

from sparsity.compaction.engines import Engine, Run, prepared
from sparsity.compaction.timing import timings, variants
from sparsity.errors import SparsityError
from sparsity.graph.sample import Given
from sparsity.masks import add_masks, density, masks, set_mask
from sparsity.networks import FC


def sparse_fc() -> nn.Module:
    network = FC((6,), 3, depth=3, width=5)
    add_masks(network)
    set_mask(network, {name: torch.rand(mask.shape) < 0.3 for name, mask in masks(network).items()})
    return network


def test_the_variants_are_dense_as_it_is_and_compact() -> None:
    network = sparse_fc()
    found = variants(network)
    assert all(bool((layer.weight != 0).all()) for layer in found["dense"] if isinstance(layer, nn.Linear))
    samples = torch.randn(4, 6)
    torch.testing.assert_close(found["compact"](samples), found["masked"](samples))
    assert torch.equal(found["masked"](samples), network.eval()(samples))
    assert density(network) < 1


def test_there_is_a_row_for_each_and_the_ratio_is_to_the_dense_one() -> None:
    found = timings(variants(sparse_fc()), engines=["torch", "csr"], batches=[1, 3], threads=[1], repeats=1)
    # All weights of the dense one are there, so that sparse products have nothing to offer.
    assert [(t.variant, t.engine, t.threads, t.batch) for t in found] == [
        (variant, engine, 1, batch)
        for batch in (1, 3)
        for variant, engine in (
            ("dense", "torch"), ("masked", "torch"), ("masked", "csr"), ("compact", "torch"), ("compact", "csr")
        )
        if (variant, engine) in {(t.variant, t.engine) for t in found}
    ]  # fmt: skip
    assert {(t.variant, t.engine) for t in found} >= {("dense", "torch"), ("masked", "csr"), ("compact", "torch")}
    for timing in found:
        base = next(t for t in found if (t.variant, t.engine, t.batch) == ("dense", "torch", timing.batch))
        assert timing.ratio == timing.seconds / base.seconds > 0
    assert torch.get_num_threads() >= 1


def test_token_ids_are_repeated_into_a_batch() -> None:
    network = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(12, 2))
    found = timings(variants(network, torch.tensor([[1, 2, 4]])), torch.tensor([[1, 2, 4]]), batches=[4], repeats=1)
    assert [t.batch for t in found] == [4, 4, 4]


@pytest.fixture
def _broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_onnx(network: nn.Module, engine: Engine, sample: Given = None) -> Run | None:
        if engine == "onnx":
            raise SparsityError("it has no such operation")
        return prepared(network, engine, sample)

    monkeypatch.setattr("sparsity.compaction.timing.prepared", without_onnx)


@pytest.mark.usefixtures("_broken")
def test_an_engine_that_cannot_run_a_network_is_told_of_once_and_the_others_go_on() -> None:
    told = list[str]()
    found = timings(variants(sparse_fc()), engines=["onnx", "torch"], batches=[1], repeats=1, refused=told.append)
    assert told == ["without onnx (dense, masked, compact): it has no such operation"]
    assert [(t.variant, t.engine) for t in found] == [("dense", "torch"), ("masked", "torch"), ("compact", "torch")]


@pytest.mark.usefixtures("_broken")
def test_it_is_an_error_if_nothing_else_was_asked_for_or_nobody_is_told() -> None:
    with pytest.raises(SparsityError, match="it has no such operation"):
        timings(variants(sparse_fc()), engines=["onnx"], batches=[1], repeats=1, refused=print)
    with pytest.raises(SparsityError, match="it has no such operation"):
        timings(variants(sparse_fc()), engines=["torch", "onnx"], batches=[1], repeats=1)


def test_the_dense_network_is_timed_with_torch_whatever_else_is_asked_for() -> None:
    found = timings(variants(sparse_fc()), engines=["csr"], batches=[2], repeats=1)
    assert [(t.variant, t.engine) for t in found][:2] == [("dense", "torch"), ("masked", "csr")]
    assert found[0].ratio == 1
    assert found[1].ratio == found[1].seconds / found[0].seconds
