"""Published networks and golden values, from the reference folder beside the project."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

Layers = dict[str, np.ndarray]


@pytest.fixture(scope="session")
def golden(reference: Path) -> Callable[[str], Any]:
    """Read one file of golden values, by its path below `golden/`."""

    def read(name: str) -> Any:
        return json.loads((reference / "golden" / name).read_text())

    return read


@pytest.fixture(scope="session")
def state_dict(reference: Path) -> Callable[[str], dict[str, torch.Tensor]]:
    """Read one published checkpoint, e.g. `FC/synflow_10_21`."""

    def read(name: str) -> dict[str, torch.Tensor]:
        (path,) = [p for p in (reference / "published").glob(f"{name}.*") if p.suffix in (".pt", ".pth")]
        return torch.load(path, weights_only=True, map_location="cpu")

    return read


@pytest.fixture(scope="session")
def published(state_dict: Callable[[str], dict[str, torch.Tensor]]) -> Callable[..., Layers]:
    """Effective weights of one published network by layer, in forward order, shortcuts left out.

    Gem-Miner's mask is `flag * (scores > 0.5)`, or with `gem_mask="flag"` the flag alone, as the thesis took it.
    """

    def read(name: str, gem_mask: str = "effective") -> Layers:
        tensors = state_dict(name)
        layers = {}
        for key, weight in tensors.items():
            layer = key.removesuffix(".weight")
            if layer == key or weight.ndim not in (2, 4) or "shortcut" in layer:
                continue
            if f"{layer}.flag" in tensors:
                mask = tensors[f"{layer}.flag"]
                if gem_mask == "effective":
                    mask = mask * (tensors[f"{layer}.scores"] > 0.5)
            else:
                mask = tensors[f"{layer}.weight_mask"]
            layers[layer] = (weight * mask).detach().numpy()
        return layers

    return read


@pytest.fixture(scope="session")
def relabelled() -> Callable[[Layers, np.random.Generator], Layers]:
    """Copy a chain of layers with the hidden units of every layer in another order: the same function."""

    def copy(layers: Layers, rng: np.random.Generator) -> Layers:
        result, order = {}, None
        for number, (name, weight) in enumerate(layers.items()):
            if order is not None:
                blocks = weight.reshape(len(weight), len(order), -1)
                weight = blocks[:, order].reshape(weight.shape)
            if number < len(layers) - 1:
                order = rng.permutation(len(weight))
                weight = weight[order]
            result[name] = weight
        return result

    return copy
