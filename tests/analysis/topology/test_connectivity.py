import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from sparsity.analysis import connectivity, densities, effective_masks
from sparsity.errors import SparsityError
from sparsity.masks import add_masks, masks, set_mask
from sparsity.networks import FC, ResNet
from tests.networks_of_strangers import NETWORKS


def sparse(network, density, seed=0):
    add_masks(network)
    generator = torch.Generator().manual_seed(seed)
    set_mask(network, {name: torch.rand(m.shape, generator=generator) < density for name, m in masks(network).items()})
    return network


def removable(network, input_shape):
    """Kept weights without which the output is the same: slow and sure, by moving one weight at a time.

    All weights and inputs are positive, so that no path cancels another.
    """
    network = network.double().eval()
    for name, mask in masks(network).items():
        weight = network.get_submodule(name).weight
        weight.data = torch.rand_like(weight) * mask + 0.1 * mask
    sample = torch.ones(1, *input_shape, dtype=torch.float64)
    with torch.no_grad():
        before = network(sample)
        found = {}
        for name, mask in masks(network).items():
            weight = network.get_submodule(name).weight
            found[name] = np.zeros(mask.shape, dtype=bool)
            for place in map(tuple, mask.nonzero().tolist()):
                value = weight[place].item()
                weight[place] = value * 2
                found[name][place] = torch.equal(network(sample), before)
                weight[place] = value
    return found


@given(seed=st.integers(0, 2**32 - 1), density=st.sampled_from([0.1, 0.3, 0.6]))
@settings(max_examples=25, deadline=None)
def test_effective_weights_of_a_chain_are_those_that_move_the_output(seed, density):
    network = sparse(FC((5,), 2, depth=4, width=4, bias="none"), density, seed)
    effective = effective_masks(network)
    superfluous = removable(network, (5,))
    for name, mask in masks(network).items():
        assert np.array_equal(effective[name], mask.numpy() & ~superfluous[name])


@pytest.mark.parametrize("seed", range(4))
def test_effective_weights_of_a_residual_network_are_those_that_move_the_output(seed):
    network = sparse(ResNet(8, width=2, input_shape=(1, 8, 8), num_classes=2, output_bias=False), 0.15, seed)
    effective = effective_masks(network)
    superfluous = removable(network, (1, 8, 8))
    assert any(found.any() for found in superfluous.values())
    for name, mask in masks(network).items():
        assert np.array_equal(effective[name], mask.numpy() & ~superfluous[name])


def test_a_shortcut_keeps_a_block_without_weights_connected():
    network = ResNet(8, width=2, input_shape=(1, 8, 8))
    add_masks(network)
    set_mask(network, {"blocks.0.conv1": torch.zeros(2, 2, 3, 3, dtype=torch.bool)})
    found = connectivity(network)
    assert found.disconnected == ("blocks.0.conv1", "blocks.0.conv2")
    assert found.layers["conv"].effective == 18
    assert densities(network).collapsed == ("blocks.0.conv1",)


def test_dead_units_have_no_kept_input_or_no_kept_output():
    network = FC((3,), 2, depth=3, width=3)
    add_masks(network)
    rows = {"fc1": [[0, 0, 0], [1, 1, 0], [0, 1, 0]], "fc2": [[1, 0, 0], [0, 0, 1], [0, 0, 0]], "fc3": [[0, 1, 1]] * 2}
    set_mask(network, {name: torch.tensor(mask, dtype=torch.bool) for name, mask in rows.items()})
    found = connectivity(network)
    assert found.layers["fc1"].no_input.tolist() == [True, False, False]
    assert found.layers["fc1"].no_output.tolist() == [False, True, False]
    assert found.layers["fc2"].no_input.tolist() == [False, False, True]
    assert found.layers["fc2"].no_output.tolist() == [True, False, False]
    assert found.layers["fc3"].no_output.tolist() == [False, False]
    assert [layer.dead for layer in found.layers.values()] == [2, 2, 0]
    # The one path: input 1, unit 2, unit 1, both outputs.
    assert [layer.effective for layer in found.layers.values()] == [1, 1, 2]
    assert found.effective_density == 4 / 24


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.conv2 = nn.Conv2d(3, 4, 3)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        x = F.max_pool2d(F.gelu(self.norm(self.conv1(x))), 2)
        x = torch.sigmoid(self.pool(self.conv2(x)))
        return F.log_softmax(self.fc(x.flatten(1)), dim=1)


def test_pooling_normalisation_and_any_nonlinearity_are_seen_through():
    network = LeNet().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = connectivity(network, (1, 14, 14))
    assert found.effective_density == 1
    assert all(not layer.dead for layer in found.layers.values())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(module.training for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_long_chains_neither_underflow_nor_overflow():
    network = FC((4,), 2, depth=400, width=64)
    assert connectivity(network).effective_density == 1


def test_mistakes_are_named():
    with pytest.raises(SparsityError, match="LeNet does not say what it takes; give input_shape"):
        effective_masks(LeNet())
    with pytest.raises(SparsityError, match="FC cannot be traced: "):
        effective_masks(FC((6,)), (7,))


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("kind", ["transformer", "own attention", "recurrent", "convolution 1d"])
def test_dense_attention_and_recurrent_layers_are_connected_throughout(kind, masked):
    network = NETWORKS[kind]()
    if masked:
        add_masks(network)
    found = connectivity(network, network.input_shape)
    assert found.effective_density == 1
    assert [layer.dead for layer in found.layers.values()] == [0] * len(found.layers)


def test_weights_that_read_a_constant_alone_are_on_no_path():
    found = connectivity(NETWORKS["attention"](), (4, 6))
    # Only a class token asks, which no input has reached yet: its 8 x 8 weights of queries say the same to all images.
    assert found.layers["attention.in_proj_weight"].effective == 192 - 64
    assert found.effective == 264


def test_an_operation_whose_connections_are_not_known_is_named():
    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.second(self.first(x).sort().values)

    with pytest.raises(SparsityError, match=r"operation 'sort' .* is not one whose connections are known"):
        connectivity(Sorted(), (3,))


class Centred(nn.Module):
    """Takes the mean away: numbers may cancel, paths do not."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        hidden = self.first(x)
        return self.second(hidden - 2 * hidden.mean(1, keepdim=True))


def test_paths_do_not_cancel():
    assert connectivity(Centred(), (3,)).effective_density == 1


@pytest.mark.parametrize(("kind", "effective"), [("padding only", 9 / 33), ("never runs", 45 / 75), ("counting", 1)])
def test_kernels_that_meet_padding_layers_that_never_run_and_dropout_are_no_reason_to_refuse(kind, effective):
    network = NETWORKS[kind]()
    add_masks(network)
    assert connectivity(network, network.input_shape).effective_density == effective


def test_every_group_of_a_convolution_is_looked_at():
    network = nn.Sequential(nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 2, 1), nn.Flatten())
    sparse(network, 0.4)
    found = connectivity(network, (4, 3, 3))
    assert 0 < found.effective < sum(m.sum() for m in masks(network).values())


@pytest.mark.parametrize("kind", ["tuple", "dictionary", "dataclass"])
def test_outputs_are_read_in_whatever_they_are_wrapped_in(kind):
    found = connectivity(NETWORKS[kind](), (6,))
    assert found.effective_density == 1
    assert [layer.dead for layer in found.layers.values()] == [0, 0]


def test_a_layer_that_runs_twice_is_read_if_it_is_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x):
            hidden = self.layer(x)
            return self.head(hidden), self.layer(hidden)[:, :1]

    network = Twice()
    add_masks(network)
    set_mask(network, {"head": torch.tensor([[1, 0, 0], [1, 0, 0]], dtype=torch.bool)})
    set_mask(network, {"layer": torch.tensor([[0, 1, 0], [1, 0, 0], [1, 1, 1]], dtype=torch.bool)})
    # Of the first run every unit is read by the second run, of the second only unit 0, as an output.
    assert connectivity(network, (3,)).layers["layer"].no_output.tolist() == [False, False, False]
