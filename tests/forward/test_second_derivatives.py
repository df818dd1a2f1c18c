from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsity.forward.second_derivatives import twice_differentiable


@pytest.mark.parametrize(
    "function",
    [F.hardsigmoid, nn.Hardsigmoid(), lambda x: nn.Hardsigmoid(inplace=True)(x + 0), lambda x: F.hardsigmoid(input=x)],
)
def test_a_hard_sigmoid_has_the_numbers_that_it_has_and_can_be_differentiated_twice(
    function: Callable[[Tensor], Tensor],
) -> None:
    x = torch.linspace(-4, 4, 9, dtype=torch.float64, requires_grad=True)
    with twice_differentiable():
        found = function(x)
        torch.testing.assert_close(found, F.hardsigmoid(x.detach()))
        (first,) = torch.autograd.grad((found**2).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
    # Of (x / 6 + 1 / 2) ** 2 between -3 and 3 the second derivative is 2 / 36.
    assert second[2:7].tolist() == pytest.approx([1 / 18] * 5)
    assert second[[0, 8]].tolist() == [0, 0]


def test_a_hard_sigmoid_in_place_changes_what_it_is_given() -> None:
    x = torch.tensor([-4.0, 0.0, 4.0])
    with twice_differentiable():
        F.hardsigmoid(x, inplace=True)
    assert x.tolist() == [0, 0.5, 1]


def test_attention_can_be_differentiated_twice() -> None:
    x = torch.randn(1, 2, 4, 8, requires_grad=True)
    with twice_differentiable():
        found = F.scaled_dot_product_attention(x, x, x).square().sum()
        (first,) = torch.autograd.grad(found, x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
    assert second.isfinite().all()
    assert second.any()
