import re
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from sparsity.analysis.predictions.corruptions import CORRUPTIONS, SEVERITIES, corrupted
from sparsity.errors import SparsityError

GREY = torch.full((4, 3, 28, 28), 128, dtype=torch.uint8)
IMAGES = F.interpolate(
    torch.randint(256, (16, 1, 7, 7), generator=torch.Generator().manual_seed(0)).float(), (28, 28), mode="bilinear"
).to(torch.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_the_same_every_time_and_grows_with_its_severity(name: str) -> None:
    torch.manual_seed(1)
    before = IMAGES.clone()
    found = [corrupted(IMAGES, name, severity) for severity in SEVERITIES]
    torch.manual_seed(2)
    assert all(torch.equal(corrupted(IMAGES, name, severity), found[severity - 1]) for severity in SEVERITIES)
    assert torch.equal(IMAGES, before)
    assert all((one.shape, one.dtype) == (IMAGES.shape, torch.uint8) for one in found)
    away = [(one.float() - IMAGES.float()).square().mean().item() for one in found]
    assert away[0] > 0
    assert away == sorted(away)


def test_noise_has_its_standard_deviation() -> None:
    # 0.08 of 255, of 9,408 values; rounding adds 1/12 of a squared step.
    spread = corrupted(GREY, "gaussian_noise", 1).float().std().item()
    expected = ((0.08 * 255) ** 2 + 1 / 12) ** 0.5
    assert abs(spread - expected) < 3 * expected / (2 * 9408) ** 0.5


def test_shot_noise_has_the_variance_of_its_photons() -> None:
    # 128 / 255 * 60 = 30.1 photons: a standard deviation of sqrt(30.1) / 60 of white.
    spread = corrupted(GREY, "shot_noise", 1).float().std().item() / 255
    assert spread == pytest.approx((128 / 255 / 60) ** 0.5, rel=0.03)


def test_impulses_hit_their_share() -> None:
    share = (corrupted(GREY, "impulse_noise", 5) != 128).float().mean().item()
    assert abs(share - 0.27) < 3 * (0.27 * 0.73 / 9408) ** 0.5


@pytest.mark.parametrize("name", ["gaussian_blur", "contrast", "pixelate"])
def test_a_grey_image_has_nothing_to_blur(name: str) -> None:
    assert torch.equal(corrupted(GREY, name, 5), GREY)


def test_contrast_and_brightness_by_hand() -> None:
    pixels = torch.tensor([0, 100, 200, 100], dtype=torch.uint8).view(1, 1, 2, 2)
    assert corrupted(pixels, "contrast", 1).flatten().tolist() == [60, 100, 140, 100]  # 0.4 of the way from 100
    assert corrupted(pixels, "brightness", 2).flatten().tolist() == [51, 151, 251, 151]  # 0.2 * 255 = 51
    assert corrupted(pixels, "brightness", 5).flatten().tolist() == [128, 228, 255, 228]  # cut at white


def test_pixels_are_means_of_their_blocks() -> None:
    pixels = torch.tensor([[0, 100, 8, 8], [100, 200, 8, 8]] * 2, dtype=torch.uint8).view(1, 1, 4, 4)
    assert corrupted(pixels, "pixelate", 1)[0, 0, 0].tolist() == [100, 100, 8, 8]


def test_a_block_that_is_cut_has_the_mean_of_what_is_left_of_it() -> None:
    pixels = torch.tensor([10, 20, 90], dtype=torch.uint8).view(1, 1, 1, 3)
    assert corrupted(pixels, "pixelate", 1).flatten().tolist() == [15, 15, 90]


def test_a_square_is_covered() -> None:
    white = torch.full((50, 1, 28, 28), 255, dtype=torch.uint8)
    covered = corrupted(white, "occlusion", 4) != 255
    assert covered.flatten(1).sum(1).tolist() == [14 * 14] * 50


def test_blur_of_one_point_is_the_gaussian() -> None:
    pixels = torch.zeros(1, 1, 15, 15, dtype=torch.uint8)
    pixels[0, 0, 7, 7] = 255
    weights = torch.exp(-(torch.arange(-3, 4.0) ** 2) / 2)
    weights /= weights.sum()
    expected = (255 * torch.outer(weights, weights)).round().to(torch.uint8)
    assert torch.equal(corrupted(pixels, "gaussian_blur", 2)[0, 0, 4:11, 4:11], expected)


@pytest.mark.parametrize(
    ("pixels", "name", "severity", "message"),
    [
        (GREY, "fog", 1, "there is no corruption 'fog'; there are gaussian_noise, shot_noise"),
        (GREY, "contrast", 6, "severity is at most 5, not 6"),
        (GREY, "contrast", 0, "severity must be a whole number of at least 1"),
        (GREY.float(), "contrast", 1, "corruptions are of uint8 images"),
    ],
)
def test_what_cannot_be_corrupted_is_refused(pixels: torch.Tensor, name: str, severity: int, message: str) -> None:
    with pytest.raises(SparsityError, match=message):
        corrupted(pixels, name, severity)


def test_the_guide_has_the_strengths() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "analysis.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(\w+)` \|[^|]*\| ([\d., ]+) \|$", guide, re.MULTILINE)
    found = {name: tuple(map(float, strengths.split(", "))) for name, strengths in told}
    assert found == {name: one.strengths for name, one in CORRUPTIONS.items()}
