from dataclasses import dataclass

import torch
from torch import Tensor

from sparsity.forward.tensors import tensors_in


@dataclass
class Output:
    logits: Tensor
    hidden: tuple[Tensor, ...]
    name: str = "no tensor"


def test_tensors_are_found_in_sequences_mappings_and_dataclasses() -> None:
    a, b, c, d = torch.zeros(4).unbind()
    found = list(tensors_in({"x": [a, None, 3], "y": Output(b, (c, d))}))
    assert all(one is other for one, other in zip(found, (a, b, c, d), strict=True))
    assert not list(tensors_in("text"))
    assert not list(tensors_in(Output))
