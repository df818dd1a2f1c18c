"""Hand-made state dicts of every layout compute in our networks what they compute in their own."""

import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sparsity.checkpoints.starting import load_weights
from sparsity.errors import SparsityError
from sparsity.interop import Kind, detect_kind, load_network
from sparsity.masks import add_masks, masked, masks, nonzero_pruned, set_mask
from sparsity.networks import FC, ResNet

State = dict[str, Tensor]
CLASSES = 3


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def binary(*shape: int) -> Tensor:
    return (torch.rand(shape) < 0.6).float()


def synflow_layer(*shape: int, bias: bool = False) -> State:
    layer = {"weight": torch.randn(shape), "weight_mask": binary(*shape)}
    return layer | ({"bias": torch.randn(shape[0]), "bias_mask": binary(shape[0])} if bias else {})


def gem_miner_layer(*shape: int, bias: bool = False) -> State:
    layer = {"weight": torch.randn(shape), "flag": binary(*shape).int(), "scores": torch.rand(shape)}
    leftovers = {"bias_flag": torch.tensor([1e25]), "bias_scores": torch.tensor([torch.nan])}
    masked_bias = {
        "bias": torch.randn(shape[0]), "bias_flag": binary(shape[0]), "bias_scores": torch.rand(shape[0])
    }  # fmt: skip
    return layer | (masked_bias if bias else leftovers)


def batch_norm(channels: int, masked: bool) -> State:
    layer = {"weight": torch.rand(channels), "bias": torch.randn(channels)}
    layer |= {"running_mean": torch.randn(channels), "running_var": torch.rand(channels) + 0.5}
    layer["num_batches_tracked"] = torch.tensor(7)
    return layer | ({"weight_mask": binary(channels), "bias_mask": binary(channels)} if masked else {})


def flat(layers: dict[str, State]) -> State:
    return {f"{layer}.{name}": tensor for layer, tensors in layers.items() for name, tensor in tensors.items()}


def fc_state(
    prefix: str, layer: Callable[..., State], units: tuple[int, ...] = (16, 5, 5, CLASSES), bias: bool = True
) -> State:
    last = len(units) - 2
    shapes = enumerate(pairwise(units))
    return flat({f"{prefix}{2 * n + 1}": layer(b, a, bias=bias and n < last) for n, (a, b) in shapes})


def resnet_state(
    names: tuple[str, str], block: Callable[[int], str], layer: Callable[..., State], masked_norm: bool, **options: Any
) -> State:
    """A ResNet-14 of width 2, whose blocks 2 and 4 change the shape."""
    conv, norm = names
    layers = {conv: layer(2, 1, 3, 3), norm: batch_norm(2, masked_norm)}
    channels = 2
    for number in range(6):
        before, channels = channels, 2 * 2 ** (number // 2)
        here = block(number)
        layers[f"{here}.conv1"] = layer(channels, before, 3, 3)
        layers[f"{here}.bn1"] = batch_norm(channels, masked_norm)
        layers[f"{here}.conv2"] = layer(channels, channels, 3, 3)
        layers[f"{here}.bn2"] = batch_norm(channels, masked_norm)
        if before != channels:
            layers[f"{here}.shortcut.0"] = synflow_layer(channels, before, 1, 1)
            layers[f"{here}.shortcut.1"] = batch_norm(channels, True)
        else:
            scale = torch.rand(channels, 1, 1) if options.get("scaled") else torch.ones(channels, 1, 1)
            layers[f"{here}.shortcut"] = {"weight": scale, "weight_mask": torch.ones_like(scale)}
    layers["fc"] = layer(CLASSES, channels, bias=options.get("bias", False))
    return flat(layers)


def synflow_block(number: int) -> str:
    return f"blocks.{number}"


def gem_miner_block(number: int) -> str:
    return f"layer{number // 2 + 1}.{number % 2}"


def own_values(state: State) -> State:
    """The tensors that the other program computes with."""
    values = {}
    for key, tensor in state.items():
        layer, _, name = key.rpartition(".")
        if name in ("weight", "bias"):
            mask_name, flag, scores = {
                "weight": ("weight_mask", "flag", "scores"),
                "bias": ("bias_mask", "bias_flag", "bias_scores"),
            }[name]
            tensor = tensor * state.get(f"{layer}.{mask_name}", torch.tensor(1))
            if f"{layer}.{flag}" in state:
                tensor = tensor * state[f"{layer}.{flag}"] * (state[f"{layer}.{scores}"] > 0.5)
        values[key] = tensor
    return values


def fc_forward(state: State, prefix: str, images: Tensor) -> Tensor:
    state, out = own_values(state), images.flatten(1)
    numbers = sorted(int(key.split(".")[-2]) for key in state if key.endswith(".weight"))
    for number in numbers:
        out = F.linear(out, state[f"{prefix}{number}.weight"], state.get(f"{prefix}{number}.bias"))
        out = out if number == numbers[-1] else out.relu()
    return out


def resnet_forward(state: State, names: tuple[str, str], block: Callable[[int], str], images: Tensor) -> Tensor:
    state = own_values(state)

    def norm(layer: str, x: Tensor) -> Tensor:
        mean, var, weight, bias = (state[f"{layer}.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, weight, bias)

    out = norm(names[1], F.conv2d(images, state[f"{names[0]}.weight"], padding=1)).relu()
    for number in range(6):
        here, stride = block(number), 2 if number in (2, 4) else 1
        residual = norm(f"{here}.bn1", F.conv2d(out, state[f"{here}.conv1.weight"], stride=stride, padding=1)).relu()
        residual = norm(f"{here}.bn2", F.conv2d(residual, state[f"{here}.conv2.weight"], padding=1))
        if stride == 2:
            out = norm(f"{here}.shortcut.1", F.conv2d(out, state[f"{here}.shortcut.0.weight"], stride=2))
        else:
            out = out * state[f"{here}.shortcut.weight"]
        out = (out + residual).relu()
    return F.linear(out.mean((2, 3)), state["fc.weight"], state.get("fc.bias"))


FC_LAYOUTS: dict[Kind, tuple[str, Callable[..., State]]] = {
    "synflow_fc": ("", synflow_layer),
    "gem_miner_fc": ("model.", gem_miner_layer),
}
RESNET_LAYOUTS: dict[Kind, tuple[tuple[str, str], Callable[[int], str], Callable[..., State], bool]] = {
    "synflow_resnet": (("conv", "bn"), synflow_block, synflow_layer, True),
    "gem_miner_resnet": (("conv1", "bn1"), gem_miner_block, gem_miner_layer, False),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", FC_LAYOUTS)
def test_a_foreign_fc_computes_the_same_here(kind: Kind, bias: bool, tmp_path: Path) -> None:
    prefix, layer = FC_LAYOUTS[kind]
    state = fc_state(prefix, layer, bias=bias)
    torch.save(state, tmp_path / "network.pt")
    network = load_network(tmp_path / "network.pt")
    images = torch.randn(9, 1, 4, 4)
    assert detect_kind(state) == kind
    assert isinstance(network, FC)
    assert network.input_shape == (1, 4, 4)
    assert list(masks(network)) == ["fc1", "fc2", "fc3"]
    assert ("fc1.bias" in network.state_dict()) == bias
    torch.testing.assert_close(network.eval()(images), fc_forward(state, prefix, images))


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", RESNET_LAYOUTS)
def test_a_foreign_resnet_computes_the_same_here(kind: Kind, bias: bool, scaled: bool, tmp_path: Path) -> None:
    names, block, layer, masked_norm = RESNET_LAYOUTS[kind]
    state = resnet_state(names, block, layer, masked_norm, bias=bias, scaled=scaled)
    torch.save(state, tmp_path / "network.pt")
    network = load_network(tmp_path / "network.pt")
    images = torch.randn(4, 1, 8, 8)
    assert detect_kind(state) == kind
    assert isinstance(network, ResNet)
    assert len(network.blocks) == 6
    assert ("blocks.0.shortcut.weight" in network.state_dict()) == scaled
    assert masks(network).keys() >= {"conv", "blocks.2.shortcut.0", "blocks.5.conv2", "fc"}
    torch.testing.assert_close(network.eval()(images), resnet_forward(state, names, block, images))


def test_flag_ignores_the_scores(tmp_path: Path) -> None:
    state = fc_state("model.", gem_miner_layer)
    torch.save(state, tmp_path / "network.pth")
    flags = masks(load_network(tmp_path / "network.pth", mask="flag"))
    effective = masks(load_network(tmp_path / "network.pth"))
    assert torch.equal(flags["fc2"], state["model.3.flag"].bool())
    assert torch.equal(effective["fc2"], state["model.3.flag"].bool() & (state["model.3.scores"] > 0.5))


def test_a_layer_without_a_mask_in_the_file_gets_none(tmp_path: Path) -> None:
    state = fc_state("", synflow_layer)
    del state["5.weight_mask"]  # SynFlow's --dense-classifier
    torch.save(state, tmp_path / "network.pt")
    network = load_network(tmp_path / "network.pt")
    assert list(masks(network)) == ["fc1", "fc2"]
    assert torch.equal(network.get_parameter("fc3.weight"), state["5.weight"])


def test_a_file_without_any_mask_can_be_forced_and_gives_a_dense_network(tmp_path: Path) -> None:
    state = {key: tensor for key, tensor in fc_state("", synflow_layer).items() if not key.endswith("_mask")}
    torch.save(state, tmp_path / "network.pt")
    with pytest.raises(SparsityError, match="no known layout"):
        load_network(tmp_path / "network.pt")
    network = load_network(tmp_path / "network.pt", kind="synflow_fc")
    assert all(mask.all() for mask in masks(network).values())


def test_a_wrapped_state_dict_is_unwrapped(tmp_path: Path) -> None:
    state = fc_state("model.", gem_miner_layer)
    wrapped = {"epoch": 3, "arch": "FC", "state_dict": {f"module.{key}": value for key, value in state.items()}}
    torch.save(wrapped, tmp_path / "network.pth")
    images = torch.randn(2, 16)
    torch.testing.assert_close(load_network(tmp_path / "network.pth")(images), fc_forward(state, "model.", images))


def test_loading_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    torch.save(fc_state("", synflow_layer), tmp_path / "network.pt")
    before = torch.get_rng_state()
    load_network(tmp_path / "network.pt")
    assert torch.equal(torch.get_rng_state(), before)


def without(*names: str) -> Callable[[State], State]:
    return lambda state: {key: tensor for key, tensor in state.items() if key not in names}


def having(**changes: Tensor) -> Callable[[State], State]:
    return lambda state: state | {key.replace("__", "."): tensor for key, tensor in changes.items()}


@pytest.mark.parametrize(
    ("layout", "change", "message"),
    [
        ("synflow_fc", without("3.weight", "3.weight_mask"), r"'fc2.weight' is missing|'fc3.weight' is missing"),
        ("synflow_fc", without("3.bias", "3.bias_mask"), "'fc2.bias', which the FC needs, is missing"),
        ("synflow_fc", having(_3__weight=torch.ones(2, 2)), "is shaped"),
        ("synflow_fc", having(_1__weight_mask=torch.full((5, 16), 0.5)), "values other than 0 and 1"),
        ("synflow_fc", having(_2__weight=torch.ones(2, 2)), "no place for '2.weight'"),
        ("gem_miner_fc", without("model.3.scores"), "without model.3.scores"),
        ("gem_miner_fc", having(model__3__scores=torch.ones(4)), "is shaped"),
        ("synflow_resnet", without("blocks.1.bn1.running_var"), "'blocks.1.bn1.running_var'.* is missing"),
        ("synflow_resnet", without("fc.weight", "fc.weight_mask"), "neither those of an FC"),
        ("synflow_resnet", having(conv__weight_mask=torch.ones(2, 1, 1, 1)), "is shaped"),
        ("gem_miner_resnet", without("layer3.1.conv2.weight"), "'blocks.5.conv2.weight'.* is missing"),
    ],
)
def test_a_damaged_layout_is_refused_with_what_is_wrong(
    layout: Kind, change: Callable[[State], State], message: str, tmp_path: Path
) -> None:
    state = fc_state(*FC_LAYOUTS[layout]) if layout in FC_LAYOUTS else resnet_state(*RESNET_LAYOUTS[layout])
    changed = {key.removeprefix("_"): tensor for key, tensor in change(state).items()}
    torch.save(changed, tmp_path / "network.pt")
    with pytest.raises(SparsityError, match=message):
        load_network(tmp_path / "network.pt")


@pytest.mark.parametrize("kind", FC_LAYOUTS)
def test_hidden_layers_may_have_several_widths(kind: Kind, tmp_path: Path) -> None:
    prefix, layer = FC_LAYOUTS[kind]
    state = fc_state(prefix, layer, units=(16, 5, 6, 4, CLASSES))
    torch.save(state, tmp_path / "network.pt")
    network = load_network(tmp_path / "network.pt")
    assert [mask.shape for mask in masks(network).values()] == [(5, 16), (6, 5), (4, 6), (CLASSES, 4)]
    images = torch.randn(9, 16)
    torch.testing.assert_close(network(images), fc_forward(state, prefix, images))


def test_shapes_that_do_not_chain_are_refused(tmp_path: Path) -> None:
    state = fc_state("", synflow_layer, units=(16, 5, 6, CLASSES))
    state |= {"3.weight": torch.randn(6, 4), "3.weight_mask": binary(6, 4)}
    torch.save(state, tmp_path / "network.pt")
    with pytest.raises(SparsityError, match=r"'fc2\.\w+' of the FC must be shaped"):
        load_network(tmp_path / "network.pt")


def test_a_forced_kind_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    torch.save(fc_state("model.", gem_miner_layer), tmp_path / "network.pth")
    with pytest.raises(SparsityError, match="neither those of an FC"):
        load_network(tmp_path / "network.pth", kind="synflow_resnet")


@pytest.mark.parametrize("arguments", [{"kind": "keras"}, {"mask": "scores"}])
def test_unknown_arguments_are_refused_by_name(arguments: dict[str, Any], tmp_path: Path) -> None:
    torch.save(fc_state("", synflow_layer), tmp_path / "network.pt")
    with pytest.raises(SparsityError, match="must be one of"):
        load_network(tmp_path / "network.pt", **arguments)


def test_weights_that_were_trained_past_their_masks_are_not_cut_in_silence(tmp_path: Path) -> None:
    network = FC((1, 4, 4), CLASSES, depth=2, width=5)
    add_masks(network)
    set_mask(network, {name: torch.rand(mask.shape) < 0.5 for name, mask in masks(network).items()})
    torch.save(network.state_dict(), tmp_path / "kept.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_network(tmp_path / "kept.pt")
    place = next(iter(masked(network).values()))
    pruned = int((~place.mask).sum())
    with torch.no_grad():
        place.weight[~place.mask] = 1.0
    assert nonzero_pruned(network) == pruned
    torch.save(network.state_dict(), tmp_path / "strayed.pt")
    with pytest.warns(UserWarning, match=f"^{pruned} pruned weights in the file are not zero"):
        loaded = load_network(tmp_path / "strayed.pt")
    assert nonzero_pruned(loaded) == 0
    with pytest.warns(UserWarning, match=f"^{pruned} pruned weights in the file are not zero"):
        load_weights(network, tmp_path / "strayed.pt")
    assert nonzero_pruned(network) == 0


@pytest.mark.parametrize("shape", [(1, 16), (3, 16), (16,)])
@pytest.mark.parametrize("given", [True, False], ids=["given", "inferred"])
def test_a_mask_of_another_shape_than_its_weight_is_refused(
    shape: tuple[int, ...], given: bool, tmp_path: Path
) -> None:
    network = FC((1, 4, 4), CLASSES, depth=2, width=5)
    add_masks(network)
    torch.save({**network.state_dict(), "fc1.weight_mask": torch.ones(shape, dtype=torch.bool)}, tmp_path / "a.pt")
    with pytest.raises(SparsityError, match="mask"):
        load_network(tmp_path / "a.pt", network=network if given else None)
