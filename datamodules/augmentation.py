"""Functions on whole batches of images, on any device: random crop and flip, normalisation. Nothing per sample."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F


def crop_and_flip(images: Tensor, top: Tensor, left: Tensor, flip: Tensor, padding: int) -> Tensor:
    """Cut a window of the images' own size out of each zero-padded image, then mirror some left to right.

    Args:
        images: `[batch, channels, height, width]`, any dtype.
        top: `[batch]`, int64, first row of each window in the padded image, in [0, 2 * padding].
        left: `[batch]`, int64, first column of each window, in [0, 2 * padding].
        flip: `[batch]`, bool, which windows are mirrored.
        padding: Zeros added on each of the four sides.

    Returns:
        A new tensor like `images`.
    """
    batch, channels, height, width = images.shape
    padded = F.pad(images, (padding, padding, padding, padding))
    columns = torch.arange(width, device=images.device)
    columns = left[:, None] + torch.where(flip[:, None], width - 1 - columns, columns)
    rows = top[:, None] + torch.arange(height, device=images.device)
    # One gather does crop and flip; it is twice as fast as indexing an unfolded view and flipping afterwards.
    pixels = (rows[:, :, None] * padded.shape[3] + columns[:, None, :]).view(batch, 1, height * width)
    return padded.flatten(2).gather(2, pixels.expand(-1, channels, -1)).view(images.shape)


def random_crop_and_flip(images: Tensor, generator: Generator, padding: int = 4) -> Tensor:
    """The usual CIFAR augmentation: a random window of the padded image, mirrored with probability 1/2.

    Args:
        images: `[batch, channels, height, width]`, any dtype.
        generator: A CPU generator; numbers are drawn there and moved, so that they are the same on every device.
        padding: Zeros added on each of the four sides.

    Returns:
        A new tensor like `images`.
    """
    batch = len(images)
    corners = torch.randint(2 * padding + 1, (2, batch), generator=generator)
    flip = torch.randint(2, (1, batch), generator=generator)
    top, left, flipped = _sent(torch.cat([corners, flip]), images.device)
    return crop_and_flip(images, top, left, flipped.bool(), padding)


def _sent(numbers: Tensor, device: torch.device) -> Tensor:
    if device.type != "cuda":
        return numbers.to(device)
    # Only from pinned memory does a GPU copy while the processor goes on.
    return numbers.pin_memory().to(device, non_blocking=True)


class Normalise:
    """Maps uint8 pixels to float32, `(pixel / 255 - mean) / std` per channel, as one product and one sum.

    Args:
        mean: Per channel, of pixels in [0, 1].
        std: Per channel, of pixels in [0, 1].
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        means, stds = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (mean, std))
        self._factors = (1 / (255 * stds)).float(), (-means / stds).float()

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise images `[batch, channels, height, width]`, uint8, into a new float32 tensor."""
        if self._factors[0].device != images.device:  # sent once, not with every batch
            self._factors = self._factors[0].to(images.device), self._factors[1].to(images.device)
        scale, shift = self._factors
        return images.to(torch.float32).mul_(scale).add_(shift)
