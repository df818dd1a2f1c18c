"""How exactly float32 numbers are multiplied on a GPU: with TF32's 10 bits while training, in full to find a mask.

Tensor cores multiply float32 matrices several times as fast if they may round their elements to TF32, which is far
finer than the noise of a batch; torch's convolutions do so by default, and its matrix products do not. A mask is a
ranking, in which neighbours would change places, and is found once: it is worth all 24 bits, as on a CPU.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Products = Literal["TF32", "float32"]


def choose_products(device: torch.device) -> Products:
    """Let this process multiply float32 numbers as fits do.

    Only a GPU is told: on a CPU the same setting would round numbers that nobody wants rounded.

    Args:
        device: That fits.

    Returns:
        The coarsest that products of float32 numbers may be, on cards that have it; `NVIDIA_TF32_OVERRIDE=0` in the
        environment keeps CUDA's libraries from it.
    """
    if device.type != "cuda":
        return "float32"
    torch.set_float32_matmul_precision("high")
    return "float32" if os.environ.get("NVIDIA_TF32_OVERRIDE") == "0" else "TF32"


@contextmanager
def full_float32() -> Iterator[None]:
    """Multiply float32 numbers in full, in matrix products and convolutions, and go on as before."""
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions
