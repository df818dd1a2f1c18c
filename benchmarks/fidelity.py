"""Masks of ours beside those of SynFlow's authors' program, from the same weights and on the same images.

    git clone https://github.com/ganguli-lab/Synaptic-Flow
    python benchmarks/fidelity.py Synaptic-Flow

Prints how much the masks have in common, as the intersection over the union, by network, method and density; the last
column is how many weights the two numbers differ by: theirs round up after the last step too.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from sparsity.masks import add_masks, masked_weights, masks
from sparsity.networks import FC, VGG11, ResNet20
from sparsity.pruning.iterative import prune_iteratively
from sparsity.pruning.saliency import (
    Loss,
    Saliency,
    cross_entropy,
    grasp_saliency,
    magnitude_saliency,
    snip_saliency,
    synflow_saliency,
)

IMAGES = 100


def theirs_of(program: Path) -> SimpleNamespace:
    """The parts of their program that are used here."""
    sys.path.insert(0, str(program))
    from Models import lottery_resnet, lottery_vgg, mlp  # type: ignore[import-not-found]
    from prune import prune_loop  # type: ignore[import-not-found]
    from Pruners import pruners  # type: ignore[import-not-found]
    from Utils import generator  # type: ignore[import-not-found]

    networks = {
        "FC": (lambda: mlp.fc((1, 28, 28), 10), lambda: FC(bias="all"), (1, 28, 28)),
        "VGG-11": (lambda: lottery_vgg.vgg11_bn((3, 32, 32), 10), VGG11, (3, 32, 32)),
        "ResNet-20": (lambda: lottery_resnet.resnet20((3, 32, 32), 10), ResNet20, (3, 32, 32)),
    }
    return SimpleNamespace(networks=networks, pruners=pruners, masked=generator.masked_parameters, loop=prune_loop)


def compare(
    theirs: nn.Module, ours: nn.Module, pruner: Any, saliency: Callable[[nn.Module], Saliency], density: float,
    iterations: int, program: SimpleNamespace, images: Tensor, labels: Tensor, training: bool,
) -> tuple[float, int]:  # fmt: skip
    """The intersection over the union of the two masks, and how many weights theirs keep more."""
    pairs = list(program.masked(theirs))
    program.loop(theirs, nn.CrossEntropyLoss(), pruner(iter(pairs)), [(images, labels)], images.device, density,
                 "exponential", "global", iterations, train_mode=training)  # fmt: skip
    prune_iteratively(ours, saliency, density, iterations)
    a = torch.cat([mask.flatten().bool() for mask, _ in pairs])
    b = torch.cat([mask.flatten() for mask in masks(ours).values()])
    return float((a & b).sum() / (a | b).sum()), int(a.sum() - b.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path, help="A clone of ganguli-lab/Synaptic-Flow.")
    parser.add_argument("--networks", nargs="*", default=["FC", "VGG-11", "ResNet-20"])
    options = parser.parse_args()
    torch.set_default_dtype(torch.float64)  # near-ties are not what is compared
    program = theirs_of(options.program.resolve())
    print(f"{'network':10} {'method':24} {'density':>8} {'steps':>6} {'IoU':>8} {'more':>5}")
    for name in options.networks:
        make_theirs, make_ours, shape = program.networks[name]
        generator = torch.Generator().manual_seed(1)
        images = torch.randn(IMAGES, *shape, generator=generator)
        labels = torch.randint(10, (IMAGES,), generator=generator)

        def loss(
            network: nn.Module, temperature: float = 1.0, images: Tensor = images, labels: Tensor = labels
        ) -> Loss:
            return partial(cross_entropy, network, images, labels, temperature)

        synflow = partial(synflow_saliency, input_shape=shape)
        methods: list[tuple[str, str, Callable[[nn.Module], Saliency], int, bool, list[float]]] = [
            ("SynFlow", "SynFlow", synflow, 10, False, [0.1, 0.02]),
            ("SynFlow", "SynFlow", synflow, 100, False, [0.1, 0.02, 0.005]),
            ("SNIP, eval mode", "SNIP", lambda n, loss=loss: snip_saliency(n, loss(n)), 1, False, [0.1, 0.02]),
            ("SNIP, train mode", "SNIP", lambda n, loss=loss: snip_saliency(n, loss(n), mode="train"), 1, True,
             [0.1, 0.02]),
            ("GraSP, train mode", "GraSP",
             lambda n, loss=loss: grasp_saliency(n, loss(n, 200.0)), 1, True, [0.1, 0.02]),
            ("magnitude", "Mag", magnitude_saliency, 1, False, [0.1, 0.02]),
        ]  # fmt: skip
        for said, class_name, saliency, iterations, training, densities in methods:
            for density in densities:
                torch.manual_seed(0)
                theirs, ours = make_theirs(), make_ours()
                add_masks(ours)
                weights = [parameter for _, parameter in program.masked(theirs)]
                for own, other in zip(masked_weights(ours).values(), weights, strict=True):
                    own.data.copy_(other.data)
                _copy_biases(theirs, ours)
                iou, more = compare(theirs, ours, getattr(program.pruners, class_name), saliency, density, iterations,
                                    program, images, labels, training)  # fmt: skip
                print(f"{name:10} {said:24} {density:8g} {iterations:6} {iou:8.4f} {more:5}", flush=True)


def _copy_biases(theirs: nn.Module, ours: nn.Module) -> None:
    """Of linear layers; those of convolutions are 0, and normalisations start alike."""
    found = [module.bias for module in theirs.modules() if isinstance(module, nn.Linear)]
    for module in ours.modules():
        if isinstance(module, nn.Linear):
            module.bias.data.copy_(found.pop(0).data)


if __name__ == "__main__":
    main()
