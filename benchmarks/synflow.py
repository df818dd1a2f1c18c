"""The time of 100 SynFlow iterations in float64, as a ratio to the usual float32 loop, turn by turn in one process.

    python benchmarks/synflow.py --network ResNet20 --threads 1
    python benchmarks/synflow.py --network FC --threads 2

The other side does what the authors' code does (github.com/ganguli-lab/Synaptic-Flow): weights and biases times their
masks in the forward pass, BatchNorm's too, absolute values in place, one backward pass on ones, one threshold over all
concatenated scores; without their pass over a loader.
"""

import argparse
import copy
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from timing import timed
from torch import Tensor, nn
from torch.nn import functional as F

from sparsity.forward.passes import eval_mode
from sparsity.masks import add_masks, density
from sparsity.networks import FC, ResNet20, ResNet110
from sparsity.pruning.iterative import prune_iteratively
from sparsity.pruning.saliency import SynapticFlow

NETWORKS: dict[str, Callable[[], nn.Module]] = {"FC": FC, "ResNet20": ResNet20, "ResNet110": ResNet110}
DENSITY = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, default="ResNet20")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    network = NETWORKS[options.network]()
    for warm_up in (prune_here, prune_as_usual):
        warm_up(copy.deepcopy(network), 3)
    ours, theirs = [], []
    for _ in range(options.turns):
        ours.append(timed(lambda: prune_here(copy.deepcopy(network), options.iterations))[0])
        theirs.append(timed(lambda: prune_as_usual(copy.deepcopy(network), options.iterations))[0])
    ratio = median(a / b for a, b in zip(ours, theirs, strict=True))
    print(f"here, float64      {median(ours):7.2f} s   {ratio:.2f} of the time of the usual loop")
    print(f"as usual, float32  {median(theirs):7.2f} s")


def prune_here(network: nn.Module, iterations: int) -> None:
    add_masks(network)
    with eval_mode(network):
        saliency = SynapticFlow(network, network.input_shape)  # type: ignore[arg-type]
        prune_iteratively(network, saliency, DENSITY, iterations)
    assert abs(density(network) - DENSITY) < 1e-4


def prune_as_usual(network: nn.Module, iterations: int) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.BatchNorm2d):
            for name, parameter in list(layer.named_parameters(recurse=False)):
                layer.register_buffer(f"{name}_mask", torch.ones_like(parameter))
            layer.forward = partial(masked_forward, layer)  # type: ignore[method-assign]
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    weights = [layer.weight for layer in layers]
    masks = [layer.get_buffer("weight_mask") for layer in layers]
    ones = torch.ones(1, *network.input_shape)  # type: ignore[misc]
    network.eval()
    for iteration in range(1, iterations + 1):
        signs = {name: torch.sign(value) for name, value in network.state_dict().items()}
        with torch.no_grad():
            for value in network.state_dict().values():
                value.abs_()
        network(ones).sum().backward()
        scores = [torch.clone(weight.grad * weight).detach().abs_() for weight in weights]
        for weight in weights:
            weight.grad.zero_()
        with torch.no_grad():
            for name, value in network.state_dict().items():
                value.mul_(signs[name])
            everything = torch.cat([score.flatten() for score in scores])
            pruned = int((1 - DENSITY ** (iteration / iterations)) * everything.numel())
            if pruned >= 1:
                threshold, _ = torch.kthvalue(everything, pruned)
                for mask, score in zip(masks, scores, strict=True):
                    mask.copy_(torch.where(score <= threshold, 0.0, 1.0))
    kept = sum(float(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)
    # In deep networks float32 overflows and nothing is pruned; that takes as long.
    assert abs(kept - DENSITY) < 0.01 or kept == 1, kept


def masked_forward(layer: nn.Linear | nn.Conv2d | nn.BatchNorm2d, inputs: Tensor) -> Tensor:
    weight = layer.get_buffer("weight_mask") * layer.weight
    bias = layer.bias if layer.bias is None else layer.get_buffer("bias_mask") * layer.bias
    if isinstance(layer, nn.Linear):
        return F.linear(inputs, weight, bias)
    if isinstance(layer, nn.Conv2d):
        return layer._conv_forward(inputs, weight, bias)
    return F.batch_norm(inputs, layer.running_mean, layer.running_var, weight, bias, eps=layer.eps)


if __name__ == "__main__":
    main()
