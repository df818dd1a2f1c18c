import copy
import pickle

import pytest
import torch
from torch import nn

from sparsity.errors import SparsityError
from sparsity.masks import add_masks, apply_masks, density, kept, masked, masks, set_mask, sizes, zero_pruned


@pytest.fixture
def network() -> nn.Sequential:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    add_masks(network)
    return network


def test_masks_start_with_every_weight_kept(network: nn.Sequential) -> None:
    assert kept(network) == sizes(network) == {"0": 18, "3": 24}
    assert density(network) == 1.0
    assert network[0].weight_mask.dtype == torch.bool
    assert network[0].weight_mask.shape == network[0].weight.shape
    assert list(masked(network)) == ["0", "3"]


def test_density_counts_kept_weights_over_all_layers(network: nn.Sequential) -> None:
    mask = torch.zeros(3, 8, dtype=torch.bool)
    mask[0, :4] = True
    set_mask(network, {"3": mask})
    assert kept(network) == {"0": 18, "3": 4}
    assert density(network) == 22 / 42


def test_adding_masks_twice_keeps_the_first(network: nn.Sequential) -> None:
    set_mask(network, {"3": torch.zeros(3, 8, dtype=torch.bool)})
    add_masks(network)
    assert kept(network)["3"] == 0


def test_state_dict_has_the_usual_keys_plus_masks(network: nn.Sequential) -> None:
    assert set(network.state_dict()) == {f"{n}.{k}" for n in "03" for k in ("weight", "bias", "weight_mask")}


def test_setting_a_mask_zeroes_weights_at_once_even_nan(network: nn.Sequential) -> None:
    with torch.no_grad():
        network[3].weight[1, 2] = torch.nan
    mask = torch.ones(3, 8, dtype=torch.bool)
    mask[1, 2] = False
    set_mask(network, {"3": mask})
    assert network[3].weight[1, 2] == 0
    assert (network[3].weight[mask] != 0).all()


def test_a_single_layer_takes_its_mask_as_a_tensor() -> None:
    layer = nn.Linear(2, 2)
    add_masks(layer)
    set_mask(layer, torch.eye(2, dtype=torch.bool))
    assert density(layer) == 0.5
    assert layer.weight[0, 1] == layer.weight[1, 0] == 0


@pytest.mark.parametrize("optimizer_class", [torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop])
def test_setting_a_mask_zeroes_the_optimizer_state_of_pruned_weights(optimizer_class: type) -> None:
    layer = nn.Linear(4, 4)
    add_masks(layer)
    arguments = {"momentum": 0.9} if optimizer_class is not torch.optim.Adam else {}
    optimizer = optimizer_class(layer.parameters(), lr=0.1, **arguments)
    layer(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    mask = torch.eye(4, dtype=torch.bool)
    set_mask(layer, mask, [optimizer])
    tensors = [v for v in optimizer.state[layer.weight].values() if torch.is_tensor(v) and v.shape == mask.shape]
    assert tensors
    for tensor in tensors:
        assert (tensor[~mask] == 0).all()
        assert (tensor[mask] != 0).all()


def test_applying_masks_restores_zeros_written_over_from_outside(network: nn.Sequential) -> None:
    mask = torch.zeros(3, 8, dtype=torch.bool)
    set_mask(network, {"3": mask})
    nn.init.ones_(network[3].weight)
    apply_masks(network)
    assert (network[3].weight == 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_zeros_are_positive_whatever_was_there_and_kept_weights_keep_their_bits(dtype: torch.dtype) -> None:
    values = torch.tensor([[torch.nan, -torch.inf, -1.5, 0.25], [torch.nan, torch.inf, -0.0, 1e-7]], dtype=dtype)
    mask = torch.tensor([[False, False, False, True], [True, True, True, True]])
    for zeroed in (values.clone(), values.t().contiguous().t()):
        zero_pruned(zeroed, mask)
        assert zeroed[0, :3].signbit().tolist() == [False] * 3
        assert zeroed[0, :3].tolist() == [0.0] * 3
        assert zeroed.contiguous().view(torch.uint8)[mask.repeat_interleave(values.itemsize, 1)].tolist() == (
            values.view(torch.uint8)[mask.repeat_interleave(values.itemsize, 1)].tolist()
        )


def test_excluded_layers_stay_dense_and_do_not_count() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3))
    add_masks(network, exclude=["0"])
    assert sizes(network) == {"1": 6}


def test_masked_networks_can_be_copied_pickled_and_loaded(network: nn.Sequential) -> None:
    set_mask(network, {"3": torch.rand(3, 8) > 0.5})
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert all(torch.equal(a, b) for a, b in zip(masks(other).values(), masks(network).values(), strict=True))
        other.load_state_dict(network.state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"9": torch.ones(3, 8, dtype=torch.bool)}, "no masked layer is called '9'"),
        ({"3": torch.ones(8, 3, dtype=torch.bool)}, r"must be bool and shaped \[3, 8\]"),
        ({"3": torch.ones(3, 8)}, "must be bool"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused_and_changes_nothing(
    network: nn.Sequential, change: dict[str, torch.Tensor], message: str
) -> None:
    with pytest.raises(SparsityError, match=message):
        set_mask(network, {"0": torch.zeros(2, 1, 3, 3, dtype=torch.bool), **change})
    assert density(network) == 1.0


def test_a_network_without_linear_or_convolution_is_refused() -> None:
    with pytest.raises(SparsityError, match="no Linear, convolution, attention"):
        add_masks(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()))


def test_a_name_in_the_place_of_a_list_of_names_is_refused() -> None:
    with pytest.raises(SparsityError, match=r"what to exclude is a list of names, such as \['0'\], not a text"):
        add_masks(nn.Sequential(nn.Linear(2, 2)), exclude="0")


def test_excluding_an_unknown_layer_is_refused() -> None:
    with pytest.raises(SparsityError, match="cannot exclude 'head'"):
        add_masks(nn.Sequential(nn.Linear(2, 2)), exclude=["head"])


def test_a_weight_shared_by_two_layers_is_refused() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    with pytest.raises(SparsityError, match="share one weight"):
        add_masks(nn.Sequential(first, second))


def test_density_without_masks_is_refused() -> None:
    with pytest.raises(SparsityError, match="call add_masks"):
        density(nn.Linear(2, 2))
