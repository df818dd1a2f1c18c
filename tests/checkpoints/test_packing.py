"""Sparse tensors in little room: what comes back is the same to the bit, and what is damaged is refused."""

import math
import zlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sparsity.checkpoints.packing import packed, size_in_bytes, unpacked
from sparsity.errors import SparsityError

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


def assert_same_bits(one: Tensor, other: Tensor) -> None:
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    assert bytes(one.contiguous().flatten().view(torch.uint8).tolist()) == bytes(
        other.contiguous().flatten().view(torch.uint8).tolist()
    )


def test_gaps_are_zeros_before_each_value_and_after_the_last() -> None:
    weight = torch.zeros(3, 200)
    weight[0, 1], weight[0, 2], weight[2, 100] = 5.0, -0.0, 7.0  # at 1, 2 and 500, and 99 zeros follow
    stored, shapes = packed({"fc.weight": weight})
    assert shapes == {"fc.weight": [3, 200]}
    assert stored.keys() == {"fc.weight.values", "fc.weight.gaps"}
    assert stored["fc.weight.values"].tolist() == [5.0, -0.0, 7.0]
    assert math.copysign(1, stored["fc.weight.values"][1].item()) == -1
    code = zlib.decompress(bytes(stored["fc.weight.gaps"].tolist()))
    assert list(code) == [1, 0, 255, 497 - 255, 99]
    assert_same_bits(unpacked(stored, shapes)["fc.weight"], weight)


def test_what_would_not_be_smaller_stays_as_it_is() -> None:
    state = {"bias": torch.tensor([1.0, 0.0]), "weight": torch.ones(4, 4), "steps": torch.tensor(0)}
    stored, shapes = packed(state)
    assert shapes == {}
    assert stored.keys() == state.keys()
    assert all(stored[name] is tensor for name, tensor in state.items())


@settings(max_examples=200, deadline=None)
@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.lists(st.integers(0, 40), max_size=4).filter(lambda shape: math.prod(shape) <= 20_000),
    density=st.sampled_from([0.0, 0.001, 0.02, 0.1, 0.5, 1.0]),
    special=st.sampled_from([0.0, -0.0, math.nan, math.inf, 1e-40]),
    by_row=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_any_tensor_comes_back_to_the_bit(
    dtype: torch.dtype, shape: list[int], density: float, special: float, by_row: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = 3 * torch.randn(shape, generator=generator)
    if dtype.is_floating_point:
        values = torch.where(torch.rand(shape, generator=generator) < 0.2, special, values)
    tensor = values.to(dtype)
    if by_row and shape:
        tensor = tensor * (torch.rand(shape[0], generator=generator) < density).reshape(-1, *[1] * (len(shape) - 1))
    else:
        tensor = tensor.masked_fill(torch.rand(shape, generator=generator) >= density, 0)
    tensor = tensor.transpose(0, -1) if len(shape) > 1 else tensor  # not contiguous
    state = {"layer.weight": tensor, "layer.bias": torch.ones(3)}
    stored, shapes = packed(state)
    assert size_in_bytes(stored) <= size_in_bytes(state)
    found = unpacked(stored, shapes)
    assert found.keys() == state.keys()
    assert_same_bits(found["layer.weight"], tensor)


@pytest.mark.parametrize("density", [0.01, 0.02, 0.1, 0.5])
def test_positions_take_little_more_than_their_entropy(density: float) -> None:
    size = 200_000
    weight = torch.randn(size).masked_fill(torch.rand(size) >= density, 0)
    kept = int(weight.count_nonzero())
    stored, _ = packed({"weight": weight})
    share = kept / size
    entropy = -(share * math.log2(share) + (1 - share) * math.log2(1 - share)) * size / 8
    assert entropy <= len(stored["weight.gaps"]) <= 1.06 * entropy + 100
    # At 2 %: 32 bits of value and about 7 of position for each that is kept, of 32 bits for each there is.
    assert size_in_bytes(stored) / size_in_bytes({"weight": weight}) < 1.6 * density


def gaps(*code: int) -> Tensor:
    return torch.tensor(list(zlib.compress(bytes(code))), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("tensors", "shape", "message"),
    [
        ({"w.values": torch.ones(2), "w.gaps": gaps(1, 2, 0)}, [6], "damaged"),  # ends at 5
        ({"w.values": torch.ones(2), "w.gaps": gaps(1, 2)}, [5], "damaged"),
        ({"w.values": torch.ones(1), "w.gaps": gaps(1, 2, 0)}, [5], "damaged"),
        ({"w.values": torch.ones(2), "w.gaps": gaps(1, 2, 0, 255)}, [5], "damaged"),
        ({"w.values": torch.ones(2), "w.gaps": torch.ones(9, dtype=torch.uint8)}, [5], "damaged"),
        ({"w.values": torch.ones(2), "w.gaps": gaps(1, 2, 0).float()}, [5], "damaged"),
        ({"w.values": torch.ones(2, 1), "w.gaps": gaps(1, 2, 0)}, [5], "damaged"),
        ({"w.values": torch.ones(2), "w.gaps": gaps(1, 2, 0)}, [5, -1], "no shape"),
        ({"w.values": torch.ones(2), "w.gaps": gaps(1, 2, 0)}, ["5"], "no shape"),
        ({"w.values": torch.ones(2), "w.gaps": gaps(1, 2, 0)}, [10**6, 10**6], "beyond reason"),
        ({"w.values": torch.ones(0), "w.gaps": gaps(*[255] * 10**6, 0)}, [5], "damaged"),
        ({"w.values": torch.ones(2)}, [5], "not both of its parts"),
    ],
)
def test_what_is_damaged_is_refused(tensors: dict[str, Tensor], shape: list[int], message: str) -> None:
    with pytest.raises(SparsityError, match=message):
        unpacked(tensors, {"w": shape})


def test_an_undamaged_one_is_not() -> None:
    found = unpacked({"w.values": torch.ones(2), "w.gaps": gaps(1, 1, 1)}, {"w": [5]})
    assert found["w"].tolist() == [0, 1, 0, 1, 0]
