"""Tests that a GPU gives what the CPU does; their bodies run on the CPU too where that is cheap, to be sound."""

import pytest
import torch


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def accelerator(request: pytest.FixtureRequest) -> str:
    """What is compared with the CPU, as `trainer.accelerator` has it."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _products_as_they_were() -> object:
    """The command line chooses them for its whole process."""
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)
