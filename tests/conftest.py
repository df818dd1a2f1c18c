"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of published networks, real data and golden values; tests that need it are skipped without it."""
    folder = Path(os.environ.get("SPARSITY_REFERENCE", ROOT.parent / "shared" / "reference"))
    if not folder.is_dir():
        pytest.skip(f"no reference folder at {folder}; set SPARSITY_REFERENCE")
    return folder


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
