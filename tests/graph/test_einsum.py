import pytest
import torch
from torch import Tensor, fx, nn

from sparsity.graph.multiply_adds import activation_products, positions
from sparsity.graph.nodes import packet_name
from sparsity.graph.trace import trace
from tests.graph.networks import Calls

SHAPES = {"a": 2, "b": 3, "c": 4, "d": 5}


def tensors(equation: str) -> tuple[Tensor, ...]:
    words = equation.partition("->")[0].replace(" ", "").replace("...", "ab").split(",")
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn([SHAPES[letter] for letter in word], generator=generator) for word in words)


@pytest.mark.parametrize(
    ("equation", "path"),
    [
        ("ab,bc,cd->ad", None),
        ("ab,bc,cd", None),
        ("ab, b, bc, cd -> dab", None),
        ("...c,cd,...d->...", None),
        ("c...,cd,d...", None),
        ("ab,bc,cd->ad", [1, 2, 0, 1]),
        ("ab,bc,cd,d->a", [2, 3, 2, 0, 0, 1]),
    ],
)
def test_a_long_product_is_written_out_in_pairs_and_gives_the_same(equation: str, path: list[int] | None) -> None:
    given = tensors(equation)
    network = Calls(lambda self, *factors: torch.ops.aten.einsum(equation, list(factors), path=path))
    found = trace(network, given)
    products = [node for node in found.graph.nodes if packet_name(node.target) == "einsum"]
    assert [len(node.args[1]) for node in products] == [2] * (len(given) - 1)
    (computed,) = fx.GraphModule(nn.Module(), found.graph)(*given)
    torch.testing.assert_close(computed, torch.einsum(equation, *given))


def test_a_long_product_costs_what_its_pairs_cost() -> None:
    network = Calls(
        lambda self, a, b: torch.einsum("ti,ij,sj->ts", a, self.weight, b), weight=nn.Parameter(torch.zeros(3, 4))
    )
    found = trace(network, (torch.zeros(5, 3), torch.zeros(6, 4)))
    # Five rows meet each weight once; then 5 x 6 pairs of rows of 4 numbers.
    assert positions(found) == {"weight": 5}
    assert activation_products(found) == 120
