"""Corrupted images, computed and never downloaded: eight kinds in five severities (Hendrycks and Dietterich 2019).

The strengths are theirs for ImageNet, but for small images: a Gaussian blur has half of it, and pixelation has blocks
of whole pixels. Brightness is added to all channels alike; occlusion is DeVries and Taylor's (2017), in grey.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from sparsity.errors import SparsityError, require_whole_number
from sparsity.seeding import named_generator

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Corruption:
    """A kind of corruption.

    Args:
        name: In tables.
        strengths: One number per severity.
        apply: Corrupts images `[n, channels, height, width]`, float32 in [0, 1], by a strength; the result may leave
            that range and is then cut.
    """

    name: str
    strengths: tuple[float, float, float, float, float]
    apply: Callable[[Tensor, float, Generator], Tensor]


def corrupted(pixels: Tensor, name: str, severity: int) -> Tensor:
    """Corrupt images, the same way whenever it is asked.

    Args:
        pixels: `[n, channels, height, width]`, uint8.
        name: One of `CORRUPTIONS`.
        severity: 1 to 5.

    Returns:
        A new tensor like `pixels`.

    Raises:
        SparsityError: If there is no such corruption or severity, or the images are none.
    """
    if name not in CORRUPTIONS:
        raise SparsityError(f"there is no corruption {name!r}; there are {', '.join(CORRUPTIONS)}")
    require_whole_number("severity", severity, at_least=1)
    if severity > len(SEVERITIES):
        raise SparsityError(f"severity is at most {len(SEVERITIES)}, not {severity}")
    if pixels.dtype != torch.uint8 or pixels.ndim != 4:
        raise SparsityError(f"corruptions are of uint8 images [n, channels, height, width], not {pixels.dtype}")
    corruption = CORRUPTIONS[name]
    generator = named_generator("corruption", name, severity, seed=0)
    images = corruption.apply(pixels.float() / 255, corruption.strengths[severity - 1], generator)
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def gaussian_noise(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Add normal noise of a standard deviation."""
    return images + strength * torch.randn(images.shape, generator=generator)


def shot_noise(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Count photons, of which white gives so many on average."""
    return torch.poisson(images * strength, generator=generator) / strength


def impulse_noise(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Make a share of all values black or white."""
    drawn = torch.rand(images.shape, generator=generator)
    return torch.where(drawn < strength / 2, 0.0, torch.where(drawn < strength, 1.0, images))


def gaussian_blur(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Blur by a Gaussian of a standard deviation in pixels, cut at three of them; edges are repeated."""
    reach = ceil(3 * strength)
    places = torch.arange(-reach, reach + 1, dtype=images.dtype)
    kernel = torch.exp(-(places**2) / (2 * strength**2))
    kernel /= kernel.sum()
    flat = images.flatten(0, 1)[:, None]
    rows = F.conv2d(F.pad(flat, (0, 0, reach, reach), mode="replicate"), kernel[None, None, :, None])
    both = F.conv2d(F.pad(rows, (reach, reach, 0, 0), mode="replicate"), kernel[None, None, None, :])
    return both.view_as(images)


def contrast(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Draw every value towards the mean of its image and channel; of its distance a share is left."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    return (images - mean) * strength + mean


def brightness(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Add a constant."""
    return images + strength


def pixelate(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Give all pixels of a block their mean; blocks have a side in pixels, and are cut at the lower and right edge."""
    side = int(strength)
    means = F.avg_pool2d(images, side, ceil_mode=True)
    large = means.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)
    return large[:, :, : images.shape[2], : images.shape[3]]


def occlusion(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Cover a square at a random place with grey; its side is a share of the image's shorter one."""
    count, _, height, width = images.shape
    side = max(1, round(strength * min(height, width)))
    top = torch.randint(height - side + 1, (count, 1, 1, 1), generator=generator)
    left = torch.randint(width - side + 1, (count, 1, 1, 1), generator=generator)
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    covered = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return torch.where(covered, 0.5, images)


CORRUPTIONS = {
    one.name: one
    for one in (
        Corruption("gaussian_noise", (0.08, 0.12, 0.18, 0.26, 0.38), gaussian_noise),
        Corruption("shot_noise", (60, 25, 12, 5, 3), shot_noise),
        Corruption("impulse_noise", (0.03, 0.06, 0.09, 0.17, 0.27), impulse_noise),
        Corruption("gaussian_blur", (0.5, 1.0, 1.5, 2.0, 3.0), gaussian_blur),
        Corruption("contrast", (0.4, 0.3, 0.2, 0.1, 0.05), contrast),
        Corruption("brightness", (0.1, 0.2, 0.3, 0.4, 0.5), brightness),
        Corruption("pixelate", (2, 3, 4, 5, 6), pixelate),
        Corruption("occlusion", (0.2, 0.3, 0.4, 0.5, 0.6), occlusion),
    )
}
"""By name, with the strengths of severities 1 to 5."""
