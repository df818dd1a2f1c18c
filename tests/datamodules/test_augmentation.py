import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from sparsity.datamodules.augmentation import Normalise, crop_and_flip, random_crop_and_flip
from sparsity.seeding import named_generator


def one_by_one(images: Tensor, top: Tensor, left: Tensor, flip: Tensor, padding: int) -> Tensor:
    height, width = images.shape[2:]
    out = []
    for image, t, le, f in zip(images, top.tolist(), left.tolist(), flip.tolist(), strict=True):
        window = F.pad(image, (padding,) * 4)[:, t : t + height, le : le + width]
        out.append(window.flip(2) if f else window)
    return torch.stack(out)


@settings(deadline=None, max_examples=60)
@given(
    batch=st.integers(1, 5),
    channels=st.integers(1, 3),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    padding=st.integers(0, 4),
    seed=st.integers(0, 2**32),
)
def test_crop_and_flip_agrees_with_a_loop_over_the_images(
    batch: int, channels: int, height: int, width: int, padding: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (batch, channels, height, width), dtype=torch.uint8, generator=generator)
    top, left = torch.randint(2 * padding + 1, (2, batch), generator=generator)
    flip = torch.randint(2, (batch,), generator=generator).bool()
    before = images.clone()
    out = crop_and_flip(images, top, left, flip, padding)
    assert torch.equal(out, one_by_one(images, top, left, flip, padding))
    assert out.dtype == torch.uint8
    assert torch.equal(images, before)


def test_crop_and_flip_by_hand() -> None:
    image = torch.tensor([[[[1, 2], [3, 4]]]])
    images = image.expand(3, 1, 2, 2)
    out = crop_and_flip(
        images, torch.tensor([1, 0, 2]), torch.tensor([1, 0, 1]), torch.tensor([True, False, False]), padding=1
    )
    assert out.tolist() == [[[[2, 1], [4, 3]]], [[[0, 0], [0, 1]]], [[[3, 4], [0, 0]]]]


def test_crop_and_flip_works_on_float_images_and_channels_last() -> None:
    images = torch.rand(4, 3, 8, 8).to(memory_format=torch.channels_last)
    centre = torch.full((4,), 2)
    flip = torch.tensor([True, False, True, False])
    out = crop_and_flip(images, centre, centre, flip, padding=2)
    assert torch.equal(out, torch.where(flip[:, None, None, None], images.flip(3), images))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32))
def test_every_random_crop_is_a_window_of_the_padded_image_or_its_mirror_image(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (6, 2, 5, 5), dtype=torch.uint8, generator=generator)
    out = random_crop_and_flip(images, generator, padding=2)
    windows = F.pad(images, (2,) * 4).unfold(2, 5, 1).unfold(3, 5, 1).flatten(2, 3).transpose(1, 2)
    for crop, candidates in zip(out, windows, strict=True):
        both = torch.cat([candidates, candidates.flip(3)])
        assert (both == crop).flatten(1).all(1).any()


def test_all_windows_come_equally_often_and_half_are_mirrored() -> None:
    # Pixel values tell the window's corner and, by the order of columns, whether it is mirrored.
    image = torch.arange(1, 10).view(1, 1, 3, 3)
    out = random_crop_and_flip(image.expand(18_000, 1, 3, 3), named_generator("test", seed=0), padding=1)
    _, counts = out.flatten(1).unique(dim=0, return_counts=True)
    assert len(counts) == 18
    # 1,000 expected of each, standard deviation 31.
    assert counts.min() > 850
    assert counts.max() < 1150


def test_random_crops_depend_on_the_generator_alone() -> None:
    images = torch.randint(256, (32, 3, 32, 32), dtype=torch.uint8)
    state = torch.get_rng_state()
    first = random_crop_and_flip(images, named_generator("a", seed=1))
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(7)
    assert torch.equal(first, random_crop_and_flip(images, named_generator("a", seed=1)))
    assert not torch.equal(first, random_crop_and_flip(images, named_generator("b", seed=1)))


def test_normalised_pixels_by_hand() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1)
    out = Normalise((0.2,), (0.4,))(pixels)
    assert out.dtype == torch.float32
    assert out.flatten().tolist() == pytest.approx([-0.5, 0.0, 2.0], abs=1e-6)


def test_normalisation_is_per_channel() -> None:
    images = torch.randint(256, (4, 3, 5, 5), dtype=torch.uint8)
    before = images.clone()
    out = Normalise((0.491, 0.482, 0.447), (0.247, 0.243, 0.262))(images)
    for channel, (mean, std) in enumerate([(0.491, 0.247), (0.482, 0.243), (0.447, 0.262)]):
        expected = (images[:, channel].double() / 255 - mean) / std
        assert torch.allclose(out[:, channel].double(), expected, atol=1e-6)
    assert torch.equal(images, before)
