from collections.abc import Iterator

import pytest
import torch

from sparsity.forward.float32 import choose_products, full_float32


@pytest.fixture(autouse=True)
def _left_as_they_were() -> Iterator[None]:
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(products)
    torch.backends.cudnn.allow_tf32 = convolutions


def test_products_are_coarser_on_a_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    assert choose_products(torch.device("cpu")) == "float32"
    assert torch.get_float32_matmul_precision() == "highest"
    assert choose_products(torch.device("cuda", 1)) == "TF32"
    assert torch.get_float32_matmul_precision() == "high"
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert choose_products(torch.device("cuda")) == "float32"


def test_in_full_everything_is_and_afterwards_it_is_as_before_also_if_that_fails() -> None:
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True

    def fail() -> None:
        with full_float32():
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.get_float32_matmul_precision() == "high"
    assert torch.backends.cudnn.allow_tf32
