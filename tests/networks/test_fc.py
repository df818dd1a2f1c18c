import pytest
import torch

from sparsity.errors import SparsityError
from sparsity.masks import add_masks, sizes
from sparsity.networks import FC


def test_the_default_has_119400_maskable_weights() -> None:
    network = FC()
    add_masks(network)
    assert sizes(network) == {
        "fc1": 78_400, "fc2": 10_000, "fc3": 10_000, "fc4": 10_000, "fc5": 10_000, "fc6": 1_000
    }  # fmt: skip
    assert sum(sizes(network).values()) == 119_400


@pytest.mark.parametrize(("bias", "with_bias"), [("all", 3), ("hidden", 2), ("none", 0)])
def test_bias_says_which_layers_have_one(bias: str, with_bias: int) -> None:
    network = FC((4,), num_classes=2, depth=3, width=5, bias=bias)  # type: ignore[arg-type]
    linear = [m for m in network if isinstance(m, torch.nn.Linear)]
    assert sum(m.bias is not None for m in linear) == with_bias
    assert network(torch.zeros(7, 4)).shape == (7, 2)


def test_one_layer_is_a_linear_classifier() -> None:
    assert [type(m).__name__ for m in FC((1, 2, 2), depth=1)] == ["Flatten", "Linear"]


def test_the_output_has_no_nonlinearity() -> None:
    assert isinstance(FC()[-1], torch.nn.Linear)


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"width": -1}, {"num_classes": 0}, {"input_shape": (1, 0, 3)}])
def test_sizes_below_one_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SparsityError, match="positive sizes"):
        FC(**wrong)  # type: ignore[arg-type]


def test_lenet_300_100_has_266200_weights_and_410_biases() -> None:
    network = FC(widths=[300, 100], bias="all")
    add_masks(network)
    assert sizes(network) == {"fc1": 784 * 300, "fc2": 300 * 100, "fc3": 100 * 10}
    assert sum(sizes(network).values()) == 266_200
    assert sum(parameter.numel() for parameter in network.parameters()) == 266_200 + 300 + 100 + 10
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_equal_widths_are_the_same_network_as_depth_and_width() -> None:
    torch.manual_seed(0)
    by_width = FC(depth=4, width=7).state_dict()
    torch.manual_seed(0)
    by_widths = FC(widths=[7, 7, 7]).state_dict()
    assert list(by_width) == list(by_widths)
    assert all(torch.equal(by_width[name], by_widths[name]) for name in by_width)


def test_no_hidden_widths_make_a_linear_classifier() -> None:
    assert [type(m).__name__ for m in FC((1, 2, 2), widths=[])] == ["Flatten", "Linear"]


def test_the_defaults_of_depth_and_width_may_stand_beside_widths_as_in_a_complete_config() -> None:
    assert FC(depth=6, width=100, widths=[3])[1].out_features == 3


@pytest.mark.parametrize("other", [{"depth": 3}, {"width": 300}])
def test_widths_beside_depth_or_width_are_refused(other: dict[str, int]) -> None:
    with pytest.raises(SparsityError, match=r"widths=\[300, 100\] or depth=. and width=.*, not both; leave one out"):
        FC(widths=[300, 100], **other)  # type: ignore[arg-type]


@pytest.mark.parametrize("widths", [[0], [3, -1], [2.5], [None]])
def test_widths_that_are_no_positive_whole_numbers_are_refused(widths: list[int]) -> None:
    with pytest.raises(SparsityError, match="positive sizes"):
        FC(widths=widths)
