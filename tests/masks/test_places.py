"""Which weights can be masked, whatever the layer: names, units, and pruning that is exact and stays."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from sparsity.errors import SparsityError
from sparsity.masks import add_masks, add_masks_of, kept, maskable, masked, masked_weights, masks, remove_masks, sizes
from sparsity.networks.initialisation import initialise_weights
from sparsity.pruning.allocation import allocate, erk
from sparsity.pruning.rescale import rescale_to_kept_fan_in
from tests.callbacks.test_every_pruner import PRUNERS
from tests.masks.layers import INCLUDED, LAYERS

NAMES = {
    "linear": {"layer": [5, 6]},
    "conv 1d": {"layer": [5, 6, 3]},
    "conv 2d": {"layer": [5, 1, 3, 3]},
    "grouped": {"layer": [6, 2, 3, 3]},
    "depthwise": {"layer": [8, 1, 3, 3]},
    "conv 3d": {"layer": [5, 1, 1, 3, 3]},
    "transposed 1d": {"layer": [5, 6, 3]},
    "transposed 2d": {"layer": [5, 1, 3, 3]},
    "transposed in groups": {"layer": [6, 2, 3, 3]},
    "transposed 3d": {"layer": [5, 1, 1, 3, 3]},
    "bilinear": {"layer.product": [5, 6, 6]},
    "attention": {"layer.in_proj_weight": [18, 6], "layer.out_proj": [6, 6]},
    "lstm": {
        "layer.weight_ih_l0": [20, 6], "layer.weight_hh_l0": [20, 5], "layer.weight_ih_l1": [20, 5],
        "layer.weight_hh_l1": [20, 5],
    },
    "lstm both ways": {
        "layer.weight_ih_l0": [20, 6], "layer.weight_hh_l0": [20, 3], "layer.weight_hr_l0": [3, 5],
        "layer.weight_ih_l0_reverse": [20, 6], "layer.weight_hh_l0_reverse": [20, 3],
        "layer.weight_hr_l0_reverse": [3, 5],
    },
    "gru": {"layer.weight_ih_l0": [15, 6], "layer.weight_hh_l0": [15, 5]},
    "rnn": {"layer.weight_ih_l0": [5, 6], "layer.weight_hh_l0": [5, 5]},
    "lstm cell": {"layer.cell.weight_ih": [20, 6], "layer.cell.weight_hh": [20, 5]},
    "gru cell": {"layer.cell.weight_ih": [15, 6], "layer.cell.weight_hh": [15, 5]},
    "gpt": {"layer": [5, 6]},
    "embedding": {"layer.table": [5, 8]},
}  # fmt: skip
"""By kind, what its weights are called, with their units first."""


def masked_network(kind: str) -> nn.Module:
    network = LAYERS[kind]()
    add_masks(network, include=INCLUDED.get(kind, ()))
    return network


@pytest.fixture(params=LAYERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("kind", NAMES)
def test_every_weight_has_a_mask_a_name_and_units(kind: str) -> None:
    network = masked_network(kind)
    assert {n: list(p.shape) for n, p in masked(network).items() if n != "head"} == NAMES[kind]
    assert masked(network).keys() == maskable(network).keys() == masks(network).keys()
    for name, place in masked(network).items():
        assert dict(network.named_parameters())[place.full_name] is place.weight is masked_weights(network)[name]
        assert network.state_dict()[place.mask_key].shape == place.weight.shape


def test_embeddings_are_not_masked_unless_they_are_asked_for() -> None:
    network = LAYERS["embedding"]()
    assert list(maskable(network)) == ["head"]
    add_masks(network, include=["layer.table.weight"])
    assert list(masks(network)) == ["layer.table", "head"]


def test_units_come_first_and_go_back_where_they_were(kind: str) -> None:
    for place in masked(masked_network(kind)).values():
        numbers = torch.arange(place.weight.numel()).view_as(place.weight)
        assert torch.equal(place.from_units(place.by_unit(numbers)), numbers)


@given(groups=st.integers(1, 3), ins=st.integers(1, 3), outs=st.integers(1, 3), kernel=st.integers(1, 3))
def test_a_unit_of_a_transposed_convolution_is_what_one_output_channel_reads(
    groups: int, ins: int, outs: int, kernel: int
) -> None:
    layer = nn.ConvTranspose1d(groups * ins, groups * outs, kernel, groups=groups, bias=False)
    place = maskable(layer)[""]
    for unit in range(groups * outs):
        alone = torch.zeros(place.shape)
        alone[unit] = 1
        layer.weight.data = place.from_units(alone)
        answer = layer(torch.ones(1, groups * ins, 4))[0]
        assert [n for n in range(groups * outs) if answer[n].any()] == [unit]


def test_masks_are_saved_loaded_and_taken_away(kind: str) -> None:
    network, other = masked_network(kind), LAYERS[kind]()
    for place in masked(network).values():
        place.mask.bernoulli_(0.5)
    state = network.state_dict()
    add_masks_of(other, state)
    other.load_state_dict(state)
    assert {n: m.tolist() for n, m in masks(other).items()} == {n: m.tolist() for n, m in masks(network).items()}
    remove_masks(other)
    assert other.state_dict().keys() == LAYERS[kind]().state_dict().keys()


def test_exclude_and_include_take_names_and_patterns() -> None:
    network = LAYERS["lstm"]()
    add_masks(network, exclude=["*.weight_hh_*", "head"])
    assert list(masks(network)) == ["layer.weight_ih_l0", "layer.weight_ih_l1"]
    add_masks(network)
    assert list(masks(network)) == ["layer.weight_ih_l0", "layer.weight_ih_l1"]
    with pytest.raises(SparsityError, match=r"cannot exclude 'layer.weight_hx\*': the layers that can be masked are"):
        add_masks(LAYERS["lstm"](), exclude=["layer.weight_hx*"])
    with pytest.raises(SparsityError, match=r"cannot include 'bias'"):
        add_masks(LAYERS["lstm"](), include=["bias"])


def test_a_parameter_of_a_layer_of_ones_own_can_be_masked() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrix = nn.Parameter(torch.ones(3, 4))
            self.head = nn.Linear(3, 2)

    network = Own()
    add_masks(network, include=["matrix"])
    assert {name: list(place.shape) for name, place in masked(network).items()} == {"matrix": [3, 4], "head": [2, 3]}


def test_erk_gives_every_gate_what_a_layer_of_its_own_would_get() -> None:
    network = masked_network("lstm")
    counts = allocate(network, 0.3, "erk")
    places = masked(network).items()
    apart = {f"{n} {g}": [p.shape[0] // p.layers, *p.shape[1:]] for n, p in places for g in range(p.layers)}
    alone = erk(apart, 0.3)
    for name in counts:
        assert counts[name] == pytest.approx(sum(c for n, c in alone.items() if n.startswith(f"{name} ")), abs=4)
    assert sum(counts.values()) == round(0.3 * sum(sizes(network).values()))


@pytest.mark.parametrize("init", ["kaiming_normal", "kaiming_uniform", "signed_constant"])
def test_weights_start_by_the_fan_in_of_their_units(kind: str, init: Any) -> None:
    network = masked_network(kind)
    initialise_weights(network, init)
    for place in masked(network).values():
        fan_in = place.shape[1:].numel()
        if init == "signed_constant":
            assert torch.allclose(place.weight.abs(), torch.tensor((2 / fan_in) ** 0.5))
        else:
            assert place.weight.abs().max() <= 6 * (2 / fan_in) ** 0.5


def test_rescaling_gives_the_kept_weights_of_a_unit_the_norm_of_all(kind: str) -> None:
    network = masked_network(kind)
    places = masked(network)
    before = {name: place.by_unit(place.weight.detach()).flatten(1).norm(dim=1) for name, place in places.items()}
    mask = {name: torch.rand(m.shape) < 0.7 for name, m in masks(network).items()}
    rescale_to_kept_fan_in(network, mask)
    for name, place in places.items():
        rows = place.by_unit(place.weight.detach() * mask[name]).flatten(1)
        some = rows.any(dim=1)
        assert torch.allclose(rows.norm(dim=1)[some], before[name][some])


class Module(pl.LightningModule):
    """Classifies with a network and says nothing."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self.network(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


class Zeros(pl.Callback):
    """Counts pruned weights that are not zero, after every step."""

    def __init__(self) -> None:
        self.others = 0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        for place in masked(pl_module).values():
            self.others += int((place.weight[~place.mask] != 0).sum())


@pytest.mark.filterwarnings("ignore:.* left no weight in", "ignore:.* by lot", "ignore:LSTM with projections")
def test_every_pruner_prunes_every_kind_of_weight_to_its_density(kind: str) -> None:
    torch.manual_seed(0)
    data = DataLoader(TensorDataset(torch.randn(24, 1, 6, 6), torch.arange(24) % 2), batch_size=4)
    for name, make in PRUNERS.items():
        module, zeros, pruner = Module(masked_network(kind)), Zeros(), make()
        pruner.min_kept = 1
        trainer = pl.Trainer(
            callbacks=[zeros, pruner], max_epochs=6, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(module, data)
        assert pruner.is_final, name
        assert zeros.others == 0, name
        assert sum(kept(module).values()) == round(0.2 * sum(sizes(module).values())), name
