from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sparsity.masks import add_masks, masks, set_mask, sizes
from sparsity.networks import FC, ResNet
from sparsity.pruning.allocation import uniform
from sparsity.pruning.clustered import clustered_saliency
from sparsity.pruning.selection import keep_highest


def clustered_fc(density: float, seed: int = 1) -> dict[str, Tensor]:
    """Masks of the 784-100-100-100-100-100-10 network with the same density in each layer."""
    network = FC()
    add_masks(network)
    mask = keep_highest(clustered_saliency(network, seed), uniform(sizes(network), density), masks(network))
    assert {name: int(m.sum()) for name, m in mask.items()} == uniform(sizes(network), density)
    return mask


def run_lengths(mask: Tensor) -> Tensor:
    """Lengths of the runs of neighbouring kept inputs of all units."""
    edges = nn.functional.pad(mask.int(), (1, 1)).diff(dim=1)
    return edges.eq(-1).nonzero()[:, 1] - edges.eq(1).nonzero()[:, 1]


def mean_run(mask: Tensor) -> float:
    return run_lengths(mask).double().mean().item()


def repeated(mask: Tensor) -> float:
    """The fraction of weights that the next unit has at the same place."""
    return ((mask[1:] & mask[:-1]).sum() / mask.sum()).item()


def test_only_the_first_units_are_used_at_low_density_but_all_classes() -> None:
    used = {name: m.any(1).nonzero().flatten().tolist() for name, m in clustered_fc(0.1).items()}
    assert used.pop("fc6") == list(range(10))
    assert used.pop("fc1") == list(range(14))  # 7,840 weights are ten units of 784
    assert all(units == list(range(30)) for units in used.values())
    assert clustered_fc(0.02)["fc1"].any(1).nonzero().flatten().tolist() == list(range(7))


@pytest.mark.parametrize("seed", range(3))
def test_runs_are_of_one_to_three_neighbouring_inputs_but_for_a_few_that_touch(seed: int) -> None:
    mask = clustered_fc(0.02, seed)
    for name in ("fc2", "fc3", "fc4", "fc5"):
        assert (run_lengths(mask[name]) <= 3).double().mean() > 0.9
        assert mean_run(mask[name]) > 1.6  # 1.07 in a random mask with as many weights in as many units


@pytest.mark.parametrize("seed", range(3))
def test_every_run_repeats_in_the_next_unit(seed: int) -> None:
    for name, m in clustered_fc(0.02, seed).items():
        repeats = torch.zeros_like(m)
        repeats[:-1] |= m[1:]
        repeats[1:] |= m[:-1]
        last_used = int(m.any(1).nonzero().max())
        alone = (m & ~repeats)[:last_used].sum()
        assert alone <= 3, name  # one run at most, the last that was taken


def test_units_fill_up_before_the_following_ones_are_used() -> None:
    mask = clustered_fc(0.5)["fc1"]
    # 39,200 weights are 50 units of 784: seven times 7 are full, and the next 7 share 784
    assert mask[:49].all()
    assert mask[49:56].sum() == 784
    assert mask[49:56].any(1).all()
    assert not mask[56:].any()


def test_the_structure_is_that_of_the_published_network(reference: Path) -> None:
    path = reference / "published" / "FC" / "clustered_random_21.pt"
    state = torch.load(path, map_location="cpu", weights_only=True)
    theirs = [state[f"{n}.weight_mask"].bool() for n in (1, 3, 5, 7, 9, 11)]
    network = FC()
    add_masks(network)
    counts = {name: int(m.sum()) for name, m in zip(sizes(network), theirs, strict=True)}
    ours = keep_highest(clustered_saliency(network, seed=21), counts, masks(network))
    for mine, published in zip(ours.values(), theirs, strict=True):
        assert abs(int(mine.any(1).sum()) - int(published.any(1).sum())) <= 1
        assert mean_run(mine) == pytest.approx(mean_run(published), rel=0.2)
        assert repeated(mine) == pytest.approx(repeated(published), abs=0.2)


def test_a_denser_mask_contains_a_sparser_one() -> None:
    sparse, dense = clustered_fc(0.05), clustered_fc(0.1)
    assert all((sparse[name] <= dense[name]).all() for name in sparse)


def test_one_ranking_over_the_network_gives_every_layer_the_same_density() -> None:
    network = ResNet(depth=8, width=4)
    add_masks(network)
    saliency = clustered_saliency(network, seed=0)
    total = sum(sizes(network).values())
    counts = {name: int(m.sum()) for name, m in keep_highest(saliency, round(0.1 * total), masks(network)).items()}
    assert all(abs(counts[name] - 0.1 * size) <= 2 for name, size in sizes(network).items())


def test_filters_of_a_convolution_are_filled_as_rows() -> None:
    network = nn.Sequential(nn.Conv2d(3, 20, 3), nn.Conv2d(20, 10, 3), nn.Conv2d(10, 10, 1))
    add_masks(network)
    saliency = clustered_saliency(network, seed=0)
    assert {name: s.shape for name, s in saliency.items()} == {
        str(n): layer.weight.shape for n, layer in enumerate(network)
    }
    mask = keep_highest(saliency, {"0": 10, "1": 120, "2": 10}, masks(network))
    assert mask["0"].flatten(1).any(1).nonzero().flatten().tolist() == [0]  # 7 % of 20 filters
    assert mask["1"].flatten(1).any(1).nonzero().flatten().tolist() == [0, 1, 2]  # 30 % of 10
    assert mean_run(mask["1"].flatten(1)) > 1.6


def test_every_position_has_its_own_turn() -> None:
    network = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 1), nn.Linear(1, 3))
    add_masks(network)
    for saliency in clustered_saliency(network, seed=0).values():
        n = saliency.numel()
        assert (saliency.flatten().sort().values * n).tolist() == pytest.approx(range(1, n + 1))


def test_the_order_depends_on_seed_and_layer_only() -> None:
    network = FC(width=20)
    add_masks(network)
    first = clustered_saliency(network, seed=1)
    torch.rand(10)
    set_mask(network, {"fc3": torch.zeros(20, 20, dtype=torch.bool)})
    again, other = clustered_saliency(network, seed=1), clustered_saliency(network, seed=2)
    for name in first:
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])
    assert not torch.equal(first["fc2"], first["fc3"])


def test_the_seed_is_by_default_the_run_s() -> None:
    network = FC(width=20)
    add_masks(network)
    torch.manual_seed(5)
    torch.rand(3)
    assert torch.equal(clustered_saliency(network)["fc1"], clustered_saliency(network, seed=5)["fc1"])
