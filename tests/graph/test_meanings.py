import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsity.errors import SparsityError
from sparsity.graph.meanings import MEANINGS, Meaning, Role, is_product_of_activations, meaning, roles
from sparsity.graph.nodes import packet_name
from sparsity.graph.trace import trace
from tests.graph.networks import Calls


def test_every_operation_has_one_meaning_and_is_one_of_torchs() -> None:
    newer = {"_safe_softmax", "_fused_rms_norm", "rms_norm", "native_channel_shuffle", "getitem"}
    for name in MEANINGS:
        assert name in newer or hasattr(torch.ops.aten, name), name


@pytest.mark.parametrize(
    ("function", "at_zero"),
    [
        (torch.relu, 0),
        (F.gelu, 0),
        (F.silu, 0),
        (F.hardswish, 0),
        (F.mish, 0),
        (F.elu, 0),
        (torch.tanh, 0),
        (torch.sin, 0),
        (torch.sigmoid, 1),
        (torch.exp, 1),
        (F.softplus, 1),
        (F.hardsigmoid, 1),
        (torch.cos, 1),
        (F.logsigmoid, 1),
    ],
)
def test_functions_are_told_apart_by_what_they_give_at_zero(function: object, at_zero: int) -> None:
    assert bool(function(torch.zeros(1))) == bool(at_zero)  # type: ignore[operator]
    found = trace(Calls(lambda self, x: function(x)), torch.ones(1, 3))  # type: ignore[operator]
    (node,) = found.outputs
    expected = Meaning.OFFSET_FUNCTION if at_zero else Meaning.FUNCTION
    assert meaning(node.args[0] if packet_name(node.target) == "" else node) == expected  # type: ignore[arg-type]


def test_values_depend_on_the_input_on_weights_or_on_nothing() -> None:
    def forward(self: Calls, x: Tensor, ids: Tensor) -> Tensor:
        table = self.table.exp()
        positions = torch.arange(3)
        return table[positions] + x * (ids > 0)

    found = trace(Calls(forward, table=nn.Parameter(torch.zeros(3))), (torch.zeros(1, 3), torch.zeros(1, 3).long()))
    of = {packet_name(node.target): role for node, role in roles(found).items() if node.op == "call_function"}
    assert of == {
        "exp": Role.WEIGHT,
        "arange": Role.CONSTANT,
        "index": Role.WEIGHT,
        "gt": Role.LABEL,
        "mul": Role.ACTIVATION,
        "add": Role.ACTIVATION,
    }


def test_products_of_activations_are_told_from_those_with_weights() -> None:
    network = Calls(lambda self, x: self.layer(x) * x * 2, layer=nn.Linear(3, 3))
    found = trace(network, torch.zeros(1, 3))
    of = roles(found)
    products = [node for node in found.graph.nodes if is_product_of_activations(node, of)]
    assert [packet_name(node.target) for node in products] == ["mul"]


def test_an_unknown_operation_is_named() -> None:
    found = trace(Calls(lambda self, x: x.sort(1).values), torch.zeros(1, 3))
    node = next(node for node in found.graph.nodes if packet_name(node.target) == "sort")
    with pytest.raises(SparsityError, match=r"operation 'sort' \(at 'sort' of its graph\)"):
        meaning(node)
