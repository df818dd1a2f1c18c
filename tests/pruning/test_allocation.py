from collections.abc import Callable, Mapping
from math import prod

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from torch import nn

from sparsity.errors import SparsityError
from sparsity.masks import add_masks, sizes
from sparsity.networks import FC, ResNet
from sparsity.pruning.allocation import (
    allocate,
    balanced,
    erk,
    explicit,
    largest_remainder,
    smart_ratio,
    uniform,
)

Shapes = Mapping[str, tuple[int, ...]]

TWO_THREE_ONE = {"0": (3, 2), "2": (1, 3)}  # sizes 6 and 3, N = 9

ALLOCATIONS: dict[str, Callable[[Shapes, float], dict[str, int]]] = {
    "uniform": lambda shapes, density: uniform(sizes_of(shapes), density),
    "balanced": lambda shapes, density: balanced(sizes_of(shapes), density),
    "erk": erk,
    "smart_ratio": lambda shapes, density: smart_ratio(shapes, density, residual=False),
    "smart_ratio of a ResNet": lambda shapes, density: smart_ratio(shapes, density, residual=True),
}

some_shapes = st.dictionaries(
    st.text(max_size=3),
    st.one_of(
        st.tuples(*[st.integers(1, 40)] * 2),
        st.tuples(st.integers(1, 20), st.integers(1, 20), *[st.sampled_from([1, 3, 5])] * 2),
    ),
    min_size=1,
    max_size=12,
)
some_density = st.floats(1e-4, 1)


def sizes_of(shapes: Shapes) -> dict[str, int]:
    return {name: prod(shape) for name, shape in shapes.items()}


def test_remainders_decide_who_is_rounded_up() -> None:
    assert largest_remainder({"a": 1.2, "b": 2.7, "c": 0.6}, 4) == {"a": 1, "b": 3, "c": 0}
    assert largest_remainder({"a": 1.2, "b": 2.7, "c": 0.6}, 5) == {"a": 1, "b": 3, "c": 1}


def test_equal_remainders_fall_to_the_first() -> None:
    assert largest_remainder({"a": 0.5, "b": 0.5}, 1) == {"a": 1, "b": 0}


def test_uniform_keeps_the_same_fraction_of_every_layer() -> None:
    assert uniform({"fc1": 100, "fc2": 50}, 0.1) == {"fc1": 10, "fc2": 5}
    assert uniform(sizes_of(TWO_THREE_ONE), 6 / 9) == {"0": 4, "2": 2}


@pytest.mark.parametrize(
    ("total", "counts"),
    [
        (4, (2, 2)),
        (5, (3, 2)),  # 2.5 each, the first is rounded up
        (7, (4, 3)),  # 3.5 each, but there are only 3
    ],
)
def test_balanced_keeps_the_same_number_of_weights_in_every_layer_that_has_them(
    total: int, counts: tuple[int, int]
) -> None:
    assert tuple(balanced(sizes_of(TWO_THREE_ONE), total / 9).values()) == counts


@pytest.mark.parametrize(
    ("total", "counts"),
    [
        # 3 + 2 = 5 parts for the first layer, 1 + 3 = 4 for the second
        (3, (2, 1)),  # 1.67 and 1.33
        (6, (3, 3)),  # 3.33 and 2.67
        (8, (5, 3)),  # 4.44 and 3.56 of 3: dense, and the first gets the 5 others
    ],
)
def test_erk_keeps_weights_in_proportion_to_the_sum_of_the_shape(total: int, counts: tuple[int, int]) -> None:
    assert tuple(erk(TWO_THREE_ONE, total / 9).values()) == counts


def test_erk_counts_the_kernel_and_a_one_by_one_kernel_as_two() -> None:
    # 8 + 4 + 3 + 3 = 18 and 8 + 4 + 1 + 1 = 14 parts of 16 weights
    assert erk({"conv": (8, 4, 3, 3), "shortcut": (8, 4, 1, 1)}, 16 / 320) == {"conv": 9, "shortcut": 7}


def test_erk_solves_again_as_often_as_layers_turn_dense() -> None:
    # 8 for 2 + 3 + 81 parts: a and b of 1 and 2 weights pass their share only after each other: 8 / 10 * 2 > 1, then
    # 7 / 8 * 3 > 2, then 5 are left for 5 parts.
    shapes = {"a": (1, 1), "b": (1, 2), "c": (1, 4)}
    assert erk(shapes, 6 / 7) == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize(
    ("total", "counts"),
    [
        (6, (5, 1)),  # 0.3 * 3 = 0.9 in the Linear at the end, 5.1 before it
        (8, (6, 2)),  # of 7.1 only 6 fit, 1.1 more than 0.9 at the end
    ],
)
def test_smart_ratio_keeps_thirty_percent_of_the_last_linear(total: int, counts: tuple[int, int]) -> None:
    assert tuple(smart_ratio(TWO_THREE_ONE, total / 9, residual=False).values()) == counts


def test_smart_ratio_falls_with_depth_and_faster_without_shortcuts() -> None:
    shapes = {"a": (10, 10), "b": (10, 10), "c": (10, 10)}
    # L = 3: 3^2 + 3 = 12 parts for a, 2^2 + 2 = 6 for b, of the 30 weights that c's 30 % leave of 60
    assert smart_ratio(shapes, 0.2, residual=True) == {"a": 20, "b": 10, "c": 30}
    # 12 and 6 / 2^2 = 1.5 parts: 26.7 and 3.3
    assert smart_ratio(shapes, 0.2, residual=False) == {"a": 27, "b": 3, "c": 30}


def test_smart_ratio_pushes_what_does_not_fit_into_the_next_layer() -> None:
    shapes = {"a": (1, 20, 1, 1), "b": (10, 10, 1, 1), "c": (10, 10, 1, 1), "d": (10, 10)}
    # L = 4: 20, 12, 6 parts times 20, 100, 100 weights for 99 of them: 18, 54, 27 in proportion 400 : 1200 : 600;
    # for 125.4: 22.8 (20 fit), 68.4 + 2.8, 34.2
    assert smart_ratio(shapes, 129 / 320, residual=True) == {"a": 18, "b": 54, "c": 27, "d": 30}
    assert smart_ratio(shapes, 155.4 / 320, residual=True) == {"a": 20, "b": 71, "c": 34, "d": 30}


def test_smart_ratio_works_without_a_linear_and_with_nothing_but_one() -> None:
    assert smart_ratio({"a": (5, 5, 2, 2), "b": (5, 5, 2, 2)}, 0.2, residual=True) == {"a": 30, "b": 10}
    assert smart_ratio({"fc": (10, 10)}, 0.1, residual=False) == {"fc": 10}


def test_smart_ratio_says_when_the_last_layer_alone_is_too_large() -> None:
    with pytest.raises(SparsityError, match=r"last Linear 'fc', 30\.0 weights, and density 0\.1 leaves 20 in"):
        smart_ratio({"conv": (4, 5, 5, 1), "fc": (10, 10)}, 0.1, residual=True)


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@given(shapes=some_shapes, density=some_density)
@example(shapes={"a": (1, 1), "b": (1, 2), "c": (40, 40)}, density=1.0)
@example(shapes={"a": (3, 7), "b": (3, 7), "c": (7, 3)}, density=0.9999)
def test_totals_are_exact_and_no_layer_passes_its_size(allocation: str, shapes: Shapes, density: float) -> None:
    assume("smart" not in allocation or affordable(shapes, density))
    counts = ALLOCATIONS[allocation](shapes, density)
    assert list(counts) == list(shapes)
    assert sum(counts.values()) == round(density * sum(sizes_of(shapes).values()))
    assert all(0 <= counts[name] <= size for name, size in sizes_of(shapes).items())


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@given(shapes=some_shapes, densities=st.tuples(some_density, some_density))
def test_a_higher_density_takes_weights_from_no_layer_up_to_rounding(
    allocation: str, shapes: Shapes, densities: tuple[float, float]
) -> None:
    low, high = sorted(densities)
    assume("smart" not in allocation or affordable(shapes, low))
    fewer, more = ALLOCATIONS[allocation](shapes, low), ALLOCATIONS[allocation](shapes, high)
    assert all(fewer[name] <= more[name] + 1 for name in shapes)


@given(shapes=some_shapes, density=some_density)
def test_uniform_is_within_one_weight_of_its_density_in_each_layer(shapes: Shapes, density: float) -> None:
    layer_sizes = sizes_of(shapes)
    counts = uniform(layer_sizes, density)
    assert all(abs(counts[name] - density * size) <= 1 for name, size in layer_sizes.items())


@given(shapes=some_shapes, density=some_density)
def test_layers_that_are_not_dense_keep_as_many_weights_if_balanced_and_as_their_shapes_if_erk(
    shapes: Shapes, density: float
) -> None:
    layer_sizes = sizes_of(shapes)
    for counts, parts in (
        (balanced(layer_sizes, density), dict.fromkeys(shapes, 1)),
        (erk(shapes, density), {name: sum(shape) for name, shape in shapes.items()}),
    ):
        # Some factor explains all counts within a weight; a dense layer may ask for more than it has.
        at_least = max((counts[name] - 1) / parts[name] for name in shapes)
        at_most = [(counts[name] + 1) / parts[name] for name in shapes if counts[name] < layer_sizes[name]]
        assert not at_most or at_least <= min(at_most)


def affordable(shapes: Shapes, density: float) -> bool:
    layer_sizes = sizes_of(shapes)
    linears = [layer_sizes[name] for name, shape in shapes.items() if len(shape) == 2]
    return len(shapes) == 1 or not linears or 0.3 * linears[-1] <= round(density * sum(layer_sizes.values()))


@given(kept=st.dictionaries(st.text(), st.tuples(st.integers(0, 999), st.integers(0, 999)), min_size=1))
def test_densities_of_a_network_give_its_numbers_of_weights_back(kept: dict[str, tuple[int, int]]) -> None:
    layer_sizes = {name: a + b + 1 for name, (a, b) in kept.items()}
    counts = {name: a for name, (a, _) in kept.items()}
    densities = {name: counts[name] / size for name, size in layer_sizes.items()}
    density = sum(counts.values()) / sum(layer_sizes.values())
    assert explicit(layer_sizes, densities, density) == counts
    assert explicit(layer_sizes, list(densities.values()), density) == counts


def test_published_densities_may_be_off_by_the_rounding_of_each_layer() -> None:
    # 2.5 + 1.5 = 4; each way of rounding them gives 3, 4 or 5
    assert explicit({"a": 5, "b": 3}, [0.5, 0.5], 3 / 8) == {"a": 2, "b": 1}
    assert explicit({"a": 5, "b": 3}, [0.5, 0.5], 4 / 8) == {"a": 3, "b": 1}
    assert explicit({"a": 5, "b": 3}, [0.5, 0.5], 5 / 8) == {"a": 3, "b": 2}


@pytest.mark.parametrize("density", [2 / 8, 6 / 8, 1.0])
def test_densities_that_amount_to_another_density_say_to_which(density: float) -> None:
    with pytest.raises(SparsityError, match=r"amount to 0\.5 .* set density to 0\.5"):
        explicit({"a": 5, "b": 3}, [0.5, 0.5], density)


def test_a_layer_of_density_zero_or_one_is_not_rounded() -> None:
    with pytest.raises(SparsityError, match=r"amount to 0\.625"):
        explicit({"a": 5, "b": 3}, [1, 0], 6 / 8)
    assert explicit({"a": 5, "b": 3}, [1, 0], 5 / 8) == {"a": 5, "b": 0}


@pytest.mark.parametrize(
    ("densities", "message"),
    [
        ([0.5], r"1 densities for 2 layers; give one for each of \['a', 'b'\]"),
        ([0.5, 0.5, 0.5], "3 densities for 2 layers"),
        ({"a": 0.5}, r"misses layer 'b'; give a density for each of \['a', 'b'\]"),
        ({"a": 0.5, "b": 0.5, "c": 0.5}, "has no use for layer 'c'"),
        ([0.5, 1.5], r"layer 'b' must be in \[0, 1\], not 1\.5"),
        ([float("nan"), 0.5], "layer 'a' must be in"),
    ],
)
def test_densities_that_do_not_fit_the_layers_are_refused(densities: list[float], message: str) -> None:
    with pytest.raises(SparsityError, match=message):
        explicit({"a": 5, "b": 3}, densities, 0.5)


def test_a_network_is_allocated_by_rule_or_by_densities() -> None:
    network = FC((6,), num_classes=3, depth=3, width=8)
    add_masks(network)
    shapes = {"fc1": (8, 6), "fc2": (8, 8), "fc3": (3, 8)}
    assert allocate(network, 0.3, "uniform") == uniform(sizes(network), 0.3)
    assert allocate(network, 0.3, "balanced") == balanced(sizes(network), 0.3)
    assert allocate(network, 0.3, "erk") == erk(shapes, 0.3)
    assert allocate(network, 0.3, "smart_ratio") == smart_ratio(shapes, 0.3, residual=False)
    assert allocate(network, 0.5, [0.5, 0.5, 0.5]) == {"fc1": 24, "fc2": 32, "fc3": 12}
    assert allocate(network, 48 / 136, {"fc3": 0, "fc2": 0, "fc1": 1}) == {"fc1": 48, "fc2": 0, "fc3": 0}
    with pytest.raises(SparsityError, match="no allocation is called 'kre'; choose uniform, erk"):
        allocate(network, 0.5, "kre")


class Downsampled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.downsample = nn.Conv2d(3, 6, 1)
        self.conv = nn.Conv2d(3, 6, 3)
        self.fc = nn.Linear(6, 2)


@pytest.mark.parametrize("network", [ResNet(depth=8, width=2), Downsampled()])
def test_networks_with_shortcuts_are_residual_for_smart_ratio(network: nn.Module) -> None:
    add_masks(network)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    shapes = {name: tuple(layer.weight.shape) for name, layer in zip(sizes(network), layers, strict=True)}
    assert allocate(network, 0.2, "smart_ratio") == smart_ratio(shapes, 0.2, residual=True)
    assert allocate(network, 0.2, "smart_ratio") != smart_ratio(shapes, 0.2, residual=False)
