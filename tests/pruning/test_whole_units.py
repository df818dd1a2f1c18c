import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from sparsity.compaction import compact
from sparsity.errors import SparsityError
from sparsity.graph.needed import removable
from sparsity.graph.sample import trace_of
from sparsity.masks import add_masks, kept, masked, masks, set_mask, sizes
from sparsity.networks import FC, ResNet
from sparsity.pruning.iterative import prune_iteratively
from sparsity.pruning.pattern import Pattern, selector
from sparsity.pruning.saliency import SynapticFlow, magnitude_saliency
from sparsity.pruning.whole_units import removable_rows
from tests.graph.networks import grouped, last_step, small_unet

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "fc": (lambda: FC((6,), num_classes=3, depth=4, width=12), (6,)),
    "resnet": (lambda: ResNet(depth=8, width=4, input_shape=(1, 8, 8)), (1, 8, 8)),
    "mobilenet": (torchvision.models.mobilenet_v3_small, (3, 64, 64)),
    "unet": (small_unet, (3, 8, 8)),
    "lstm": (last_step, (6, 4)),
}


def made(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    network = make()
    add_masks(network)
    return network, shape


def small() -> nn.Sequential:
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    add_masks(network)
    return network


SALIENCY = {
    "0": torch.tensor([[4.0, 2.0], [1.0, 1.0], [6.0, 6.0]]),  # means 3, 1 and 6
    "2": torch.tensor([[9.0, 0.0, 0.0], [2.0, 2.0, 2.0]]),  # means 3 and 2
    "4": torch.ones(2, 2),
}


def of_small(count: int, by_kind: bool = False) -> list[list[list[int]]]:
    network = small()
    choose = selector(Pattern.parse("unit"), network, (2,), by_kind)
    return [m.int().tolist() for m in choose(SALIENCY, count, masks(network), 0).masks.values()]


def test_a_unit_goes_with_its_row_and_its_columns() -> None:
    # 16 weights. The middle unit of three goes first: 2 of its own and 2 that read it.
    assert of_small(16) == [[[1, 1]] * 3, [[1, 1, 1]] * 2, [[1, 1]] * 2]
    assert of_small(15) == of_small(12) == [[[1, 1], [0, 0], [1, 1]], [[1, 0, 1]] * 2, [[1, 1]] * 2]
    # Then the second of two: 2 rows that are left of it, and 2 that read it.
    assert of_small(11) == of_small(8) == [[[1, 1], [0, 0], [1, 1]], [[1, 0, 1], [0, 0, 0]], [[1, 0]] * 2]
    # Then the first of three; the last ones of their layers stay.
    assert of_small(7) == of_small(5) == [[[0, 0], [0, 0], [1, 1]], [[0, 0, 1], [0, 0, 0]], [[1, 0]] * 2]
    with pytest.raises(SparsityError, match=r"cannot keep 4 weights: .* there are 5; ask for a higher density"):
        of_small(4)


def test_the_same_share_of_all_kinds_stays_if_each_is_ranked_on_its_own() -> None:
    # A third, a half, two thirds: the order is 1 of three, 1 of two, 2 of three.
    assert of_small(12, by_kind=True) == of_small(12)
    network = small()
    values = SALIENCY | {"2": 100 * SALIENCY["2"]}
    chosen = [selector(Pattern.parse("unit"), network, (2,), k)(values, 8, masks(network), 0) for k in (False, True)]
    assert [int(c.masks["0"].any(1).sum()) for c in chosen] == [1, 2]
    assert [int(c.masks["2"].any(1).sum()) for c in chosen] == [2, 1]


def test_units_of_equal_saliency_are_told() -> None:
    network = small()
    even = {name: torch.ones_like(value) for name, value in SALIENCY.items()}
    chosen = selector(Pattern.parse("unit"), network, (2,))(even, 12, masks(network), 0)
    assert any(bool(lot.any()) for lot in chosen.by_lot.values())
    assert all(not (lot & ~chosen.masks[name]).any() for name, lot in chosen.by_lot.items())
    assert not selector(Pattern.parse("unit"), network, (2,))(SALIENCY, 12, masks(network), 0).by_lot


@pytest.mark.parametrize("by_kind", [False, True])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_compaction_takes_exactly_the_pruned_units_out(name: str, by_kind: bool) -> None:
    network, shape = made(name)
    choose = selector(Pattern.parse("unit"), network, shape, by_kind)
    total = sum(sizes(network).values())
    count = round(0.6 * total)
    mask = choose(magnitude_saliency(network), count, masks(network), 0).masks
    left = sum(int(m.sum()) for m in mask.values())
    assert 0.45 * total < left <= count
    pruned = copy.deepcopy(network)
    set_mask(pruned, mask)
    found = compact(pruned, shape)
    live = {n: int(place.by_unit(mask[n]).flatten(1).any(1).sum()) for n, place in masked(network).items()}
    assert {n: layer.units for n, layer in found.layers.items()} == live
    assert sum(layer.weights for layer in found.layers.values()) == left
    samples = torch.randn(4, *shape)
    with torch.no_grad():
        assert torch.allclose(pruned.eval()(samples), found.network(samples), atol=1e-5)


def test_iterations_shrink_and_end_where_they_should() -> None:
    network, shape = made("resnet")
    total = sum(sizes(network).values())
    flow = SynapticFlow(network, shape)
    prune_iteratively(network, flow, 0.3, 10, selector=selector(Pattern.parse("unit"), network, shape))
    assert 0.25 * total < sum(kept(network).values()) <= round(0.3 * total)
    assert min(kept(network).values()) > 0


def test_outputs_heads_groups_and_what_a_layernorm_takes_together_stay() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    add_masks(network)
    rows = removable_rows(masked(network), removable(trace_of(network, (3,))))
    assert {name: units.tolist() for name, units in rows.items()} == {"2": [True] * 5}
    parts = grouped()
    add_masks(parts)
    found = removable_rows(masked(parts), removable(trace_of(parts, (3, 16, 16))))
    assert not any(bool(units.any()) for units in found.values())


def test_a_network_without_units_that_can_go_is_refused() -> None:
    network = nn.Sequential(nn.Linear(3, 4))
    add_masks(network)
    with pytest.raises(SparsityError, match="no unit of the network can be removed"):
        selector(Pattern.parse("unit"), network, (3,))


def test_units_that_no_masked_weight_makes_stay() -> None:
    network: Any = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    add_masks(network, exclude=["0"])
    saliency: dict[str, Tensor] = {"2": torch.arange(20.0).view(5, 4), "4": torch.ones(2, 5)}
    mask = selector(Pattern.parse("unit"), network, (3,))(saliency, 24, masks(network), 0).masks
    assert mask["2"].any(0).all()
    assert mask["2"].any(1).tolist() == [False, True, True, True, True]
