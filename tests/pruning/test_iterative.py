import copy
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from sparsity.errors import SparsityError
from sparsity.masks import add_masks, kept, masked, masks, set_mask, sizes
from sparsity.networks import FC, ResNet, ResNet20, ResNet110
from sparsity.pruning.allocation import Allocation
from sparsity.pruning.iterative import iterative_masks, prune_iteratively
from sparsity.pruning.saliency import (
    Saliency,
    SynapticFlow,
    magnitude_saliency,
    random_saliency,
    require_finite,
    synflow_saliency,
)
from tests.syncs import CountSyncs

NETWORKS = {
    "fc": (lambda: FC((6,), num_classes=3, depth=3, width=8), (6,)),
    "resnet": (lambda: ResNet(depth=8, width=2, input_shape=(1, 8, 8)), (1, 8, 8)),
}


@settings(deadline=None, max_examples=60)
@given(
    architecture=st.sampled_from(sorted(NETWORKS)),
    method=st.sampled_from(["random", "magnitude", "synflow"]),
    density=st.floats(0.01, 1),
    iterations=st.integers(1, 5),
    schedule=st.sampled_from(["exponential", "linear", "cubic"]),
    allocation=st.sampled_from([None, "uniform", "erk", "balanced"]),
    seed=st.integers(0, 2**31),
)
def test_counts_are_exact_and_masks_only_shrink(
    architecture: str,
    method: str,
    density: float,
    iterations: int,
    schedule: str,
    allocation: Allocation | None,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    make, shape = NETWORKS[architecture]
    network: nn.Module = make()
    add_masks(network)
    seen: list[dict[str, torch.Tensor]] = []
    functions = {
        "random": partial(random_saliency, seed=seed),
        "magnitude": magnitude_saliency,
        "synflow": partial(synflow_saliency, input_shape=shape),
    }

    def watched(network: nn.Module) -> Saliency:
        seen.append({n: m.clone() for n, m in masks(network).items()})
        return functions[method](network)

    before = copy.deepcopy(network)
    prune_iteratively(network, watched, density, iterations, schedule, allocation)  # type: ignore[arg-type]
    seen.append(masks(network))

    assert sum(kept(network).values()) == round(density * sum(sizes(network).values()))
    if allocation == "uniform":
        assert all(abs(kept(network)[n] - density * size) <= 1 for n, size in sizes(network).items())
    assert len(seen) == iterations + 1
    for earlier, later in pairwise(seen):
        assert all((later[name] <= earlier[name]).all() for name in later)
    for layer, original in zip(masked(network).values(), masked(before).values(), strict=True):
        assert torch.equal(layer.weight, original.weight * layer.mask)


@settings(deadline=None, max_examples=15)
@given(depth=st.integers(2, 6), width=st.integers(2, 12), seed=st.integers(0, 2**31))
def test_synflow_avoids_layer_collapse_down_to_one_weight_per_layer(depth: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    network = FC((5,), num_classes=3, depth=depth, width=width, bias="none")
    add_masks(network)
    total = sum(sizes(network).values())
    prune_iteratively(network, partial(synflow_saliency, input_shape=(5,)), depth / total, iterations=100)
    assert list(kept(network).values()) == [1] * depth


@pytest.mark.parametrize("density", [0.02, 0.001])
def test_synflow_leaves_a_path_through_a_resnet(density: float) -> None:
    network = ResNet20(width=8)
    add_masks(network)
    prune_iteratively(network, partial(synflow_saliency, input_shape=(3, 32, 32)), density, iterations=20)
    flow = synflow_saliency(network, (3, 32, 32))
    assert flow["fc"].sum() > 0


@pytest.mark.parametrize("density", [0.002, 0.05])
def test_min_kept_saves_every_layer_and_the_total_stays_exact(density: float) -> None:
    network = FC((20,), width=30)
    add_masks(network)
    prune_iteratively(network, partial(random_saliency, seed=1), density, min_kept=1)
    assert min(kept(network).values()) >= 1
    assert sum(kept(network).values()) == round(density * sum(sizes(network).values()))


def test_magnitude_agrees_with_torch() -> None:
    network, other = FC(width=20), FC(width=20)
    other.load_state_dict(network.state_dict())
    add_masks(network)
    prune_iteratively(network, magnitude_saliency, 0.3)
    layers = [(m, "weight") for m in other if isinstance(m, nn.Linear)]
    total = sum(layer.weight.numel() for layer, _ in layers)
    amount = total - round(0.3 * total)
    prune.global_unstructured(layers, prune.L1Unstructured, amount=amount)
    for mask, (layer, _) in zip(masks(network).values(), layers, strict=True):
        assert torch.equal(mask, layer.weight_mask.bool())


@pytest.mark.parametrize(("published", "exponent"), [("synflow_10_21.pt", 1.0), ("synflow_2_21.pt", 1.7)])
def test_synflow_reproduces_the_published_masks_to_the_weight(reference: Path, published: str, exponent: float) -> None:
    folder = reference / "published" / "FC"
    names = {"fc1": 1, "fc2": 3, "fc3": 5, "fc4": 7, "fc5": 9, "fc6": 11}
    initial = torch.load(folder / "synflow_10_21_init.pt", map_location="cpu", weights_only=True)
    target = torch.load(folder / published, map_location="cpu", weights_only=True)
    network = FC()
    network.load_state_dict({f"{name}.{kind}": initial[f"{n}.{kind}"] for name, n in names.items()
                             for kind in ("weight", "bias") if f"{n}.{kind}" in initial})  # fmt: skip
    add_masks(network)
    prune_iteratively(network, partial(synflow_saliency, input_shape=(1, 28, 28)), 10**-exponent, iterations=10)
    ours = torch.cat([m.flatten() for m in masks(network).values()])
    theirs = torch.cat([target[f"{n}.weight_mask"].bool().flatten() for n in names.values()])
    # Theirs keep N - int((1 - s) N) after the last step too, ours the rounded number.
    assert (ours & ~theirs).sum() == 0
    assert (theirs & ~ours).sum() <= 1


def test_weights_pruned_before_stay_pruned() -> None:
    network = FC((4,), depth=2, width=4)
    add_masks(network)
    first = torch.zeros(4, 4, dtype=torch.bool)
    set_mask(network, {"fc1": first})
    prune_iteratively(network, partial(random_saliency, seed=0), 0.5)
    assert kept(network)["fc1"] == 0


@pytest.mark.parametrize("iterations", [1, 7])
def test_synflow_waits_for_a_device_once_to_begin_and_once_per_iteration_and_finds_the_same_mask_there(
    iterations: int,
) -> None:
    torch.manual_seed(0)
    network = ResNet(depth=8, width=4)
    add_masks(network)
    other = copy.deepcopy(network)
    prune_iteratively(network, SynapticFlow(network, (3, 32, 32)), 0.05, iterations)
    with CountSyncs() as syncs:
        prune_iteratively(other, SynapticFlow(other, (3, 32, 32)), 0.05, iterations)
    assert syncs.count == 1 + iterations
    assert all(torch.equal(mask, masks(other)[name]) for name, mask in masks(network).items())


@pytest.mark.slow
def test_synflow_of_a_wide_resnet110_stays_finite_and_connected_at_a_ten_thousandth() -> None:
    torch.manual_seed(0)
    network = ResNet110(width=64)
    add_masks(network)
    flow = SynapticFlow(network, (3, 32, 32))
    prune_iteratively(network, flow, 1e-4, iterations=100)
    assert sum(kept(network).values()) == round(1e-4 * 27_545_792)
    saliency = flow(network)
    require_finite(saliency)
    assert saliency["fc"].sum() > 0
    # Blocks may be empty, since shortcuts pass them by; the last cut leaves 3 weights without a path.
    on_a_path = sum(int((saliency[name][mask] > 0).sum()) for name, mask in masks(network).items())
    assert on_a_path > 0.99 * sum(kept(network).values())


@pytest.mark.parametrize("architecture", NETWORKS)
@pytest.mark.parametrize("iterations", [1, 4])
def test_finding_masks_touches_no_network(architecture: str, iterations: int) -> None:
    make, shape = NETWORKS[architecture]
    network = make()
    add_masks(network)
    prune_iteratively(network, magnitude_saliency, 0.8)
    before = {
        name: (tensor, tensor.data_ptr(), tensor.clone()) for name, tensor in network.state_dict(keep_vars=True).items()
    }
    other = copy.deepcopy(network)
    found = iterative_masks(network, SynapticFlow(network, shape), 0.2, iterations)
    asked = 0

    def failing(network: nn.Module) -> Saliency:
        nonlocal asked
        asked += 1
        if asked == iterations:
            raise RuntimeError("in the middle")
        return magnitude_saliency(network)

    with pytest.raises(RuntimeError, match="in the middle"):
        iterative_masks(network, failing, 0.2, iterations)
    for name, tensor in network.state_dict(keep_vars=True).items():
        same, place, values = before[name]
        assert tensor is same
        assert tensor.data_ptr() == place
        assert tensor.equal(values)
    prune_iteratively(other, SynapticFlow(other, shape), 0.2, iterations)
    assert all(mask.equal(found.masks[name]) for name, mask in masks(other).items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: {name: found[name] for name in found if name != "fc2"}, "has nothing for the layer 'fc2'"),
        (lambda found: {**found, "fc9": found["fc1"]}, "has 'fc9', which is no masked layer"),
        (
            lambda found: {**found, "fc2": found["fc2"][:1]},
            r"'fc2' must be shaped like its weight, \[8, 8\], not \[1, 8\]",
        ),
        (lambda found: list(found.values()), "a saliency is a tensor for every masked layer.*not a list"),
        (lambda found: None, "not a NoneType"),
    ],
    ids=["missing", "unknown", "shape", "list", "nothing"],
)
def test_a_saliency_that_is_not_one_of_every_layer_is_refused(
    change: Callable[[Saliency], Saliency], message: str
) -> None:
    network = FC((6,), num_classes=3, depth=3, width=8)
    add_masks(network)
    with pytest.raises(SparsityError, match=message):
        prune_iteratively(network, lambda network: change(magnitude_saliency(network)), density=0.1)
    assert kept(network) == sizes(network)


@pytest.mark.parametrize("iterations", [0, -1])
def test_no_iterations_are_refused(iterations: int) -> None:
    network = FC((6,), num_classes=3, depth=3, width=8)
    add_masks(network)
    with pytest.raises(SparsityError, match="iterations must be"):
        prune_iteratively(network, magnitude_saliency, density=0.1, iterations=iterations)
