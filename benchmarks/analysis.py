"""How much faster the matrix forms of the analysis are than straightforward loops, on the same networks in one run.

    python benchmarks/analysis.py

prints ratios for synthetic networks at 10 % density, and for the nine published FC networks if the reference folder
is there (SPARSITY_REFERENCE, or ../shared/reference). Loops run on one pair of networks, ours on that pair and on all.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import networkx  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
import torch
from pruned import sparse
from scipy.optimize import linear_sum_assignment
from timing import timed

from sparsity.analysis import activation_correlation, kernel_clusters, layer_weights, network_distance, responses
from sparsity.networks import FC, ResNet20

Array = npt.NDArray[Any]
Layers = Mapping[str, Array]
MEASURES = ("nnstd", "sasd", "maed")


def main() -> None:
    torch.manual_seed(0)
    fc, resnets = [sparse(FC(), s) for s in range(9)], [sparse(ResNet20(), s) for s in range(3)]
    print(f"{'':56}{'loops':>9}{'ours':>9}{'ratio':>9}")
    weights = [layer_weights(network) for network in fc]
    compare_distances("synthetic FC", weights)
    if published := published_fc():
        compare_distances("published FC", published)
    compare_distances("synthetic ResNet-20", [layer_weights(network) for network in resnets], loops=False)
    kernels = layer_weights(resnets[0])
    report("kernel clusters, one ResNet-20", lambda: loop_clusters(kernels), lambda: our_clusters(kernels))
    images = torch.randn(600, 1, 28, 28)
    report(
        "correlations, one pair of FC, 600 images",
        lambda: loop_correlations(responses(fc[0], images), responses(fc[1], images)),
        lambda: activation_correlation(fc[0], fc[1], images, batch_size=200),
    )


def published_fc() -> list[Layers]:
    """Effective weights of the thesis's nine FC networks at 10 %, or none without the reference folder."""
    beside = Path(__file__).parents[2] / "shared" / "reference"
    folder = Path(os.environ.get("SPARSITY_REFERENCE", beside)) / "published" / "FC"
    networks: list[Layers] = []
    for path in sorted(p for m in ("gem_miner", "random", "synflow") for p in folder.glob(f"{m}_10_??.pt*")):
        tensors = torch.load(path, weights_only=True, map_location="cpu")
        layers = {}
        for name in (key.removesuffix(".weight") for key in tensors if key.endswith(".weight")):
            gem = f"{name}.flag" in tensors
            mask = (
                tensors[f"{name}.flag"] * (tensors[f"{name}.scores"] > 0.5) if gem else tensors[f"{name}.weight_mask"]
            )
            layers[name] = (tensors[f"{name}.weight"] * mask).detach().numpy()
        networks.append(layers)
    return networks


def compare_distances(title: str, networks: Sequence[Layers], loops: bool = True) -> None:
    pairs = list(combinations(networks, 2))
    total = 0.0
    for measure in MEASURES:
        if loops:
            a, b = pairs[0]
            report(
                f"{measure}, one pair of {title}",
                lambda a=a, b=b, m=measure: loop_distance(a, b, m),  # type: ignore[misc]
                lambda a=a, b=b, m=measure: network_distance(a, b, m).mean,  # type: ignore[misc]
            )
        seconds, _ = timed(lambda m=measure: [network_distance(a, b, m) for a, b in pairs])  # type: ignore[misc]
        print(f"{f'{measure}, all {len(pairs)} pairs of {title}':56}{'':9}{seconds:8.3f}s")
        total += seconds
    print(f"{f'all measures, all {len(pairs)} pairs of {title}':56}{'':9}{total:8.3f}s")


def report(title: str, loops: Callable[[], Any], ours: Callable[[], Any]) -> None:
    ours()  # first calls import and allocate
    fast, new = timed(ours)
    slow, old = timed(loops)
    if isinstance(old, float) and abs(old - new) > 1e-9:
        raise AssertionError(f"{title}: loops give {old}, ours {new}")
    print(f"{title:56}{slow:8.3f}s{fast:8.3f}s{slow / fast:8.0f}x")


def loop_distance(a: Layers, b: Layers, measure: str) -> float:
    """Mean matched distance, one pair of units at a time."""
    means = []
    for x, y in zip(a.values(), b.values(), strict=True):
        cost = np.array([[unit_distance(p.ravel(), q.ravel(), measure) for q in y] for p in x])
        means.append(cost[linear_sum_assignment(cost)].mean())
    return float(np.mean(means))


def unit_distance(p: Array, q: Array, measure: str) -> float:
    p, q = p.astype(np.float64), q.astype(np.float64)
    if measure == "maed":
        worst = np.abs(np.sort(p) - np.sort(q)[::-1]).sum()
        return float(np.abs(p - q).sum() / worst) if worst else 0.0
    union = ((p != 0) | (q != 0)).sum()
    shared = ((p != 0) & (q != 0) if measure == "nnstd" else p * q > 0).sum()
    return float(1 - shared / union) if union else 0.0


def our_clusters(layers: Layers) -> float:
    return float(sum(kernel_clusters(w).components.sum() for w in layers.values() if w.ndim == 4))


def loop_clusters(layers: Layers) -> float:
    """Connected components with networkx, one kernel at a time."""
    return float(sum(components(kernel) for w in layers.values() if w.ndim == 4 for unit in w for kernel in unit))


def components(kernel: Array) -> int:
    kept: Iterable[tuple[int, int]] = [(int(row), int(column)) for row, column in np.argwhere(kernel)]
    graph = networkx.Graph()
    graph.add_nodes_from(kept)
    graph.add_edges_from((p, q) for p, q in combinations(kept, 2) if max(abs(p[0] - q[0]), abs(p[1] - q[1])) == 1)
    return int(networkx.number_connected_components(graph))


def loop_correlations(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> None:
    for x, y in zip(a.values(), b.values(), strict=True):
        with np.errstate(invalid="ignore"):
            found = np.array([[np.corrcoef(p, q)[0, 1] for q in y.T.numpy()] for p in x.T.numpy()])
        linear_sum_assignment(-np.nan_to_num(found))


if __name__ == "__main__":
    main()
