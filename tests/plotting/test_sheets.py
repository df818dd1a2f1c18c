import numpy as np
import pytest

from sparsity.analysis import common_kernels
from sparsity.plotting.sheets import feature_map_figure, first_layer_figure, kernel_sheet, patch_sheet
from tests.plotting.drawing import drawn, sparse

pytestmark = pytest.mark.filterwarnings("error")


def test_first_layers_share_one_scale_that_is_symmetric_around_zero(rng: np.random.Generator) -> None:
    maps = {f"net {k}": rng.normal(size=(1, 28, 28)) * (k + 1) for k in range(5)}
    figure = first_layer_figure(maps)
    images = [image for axes in figure.axes for image in axes.images]
    (low, high), limit = images[0].get_clim(), max(np.abs(array).max() for array in maps.values())
    assert (low, high) == (-limit, limit)
    assert {image.get_clim() for image in images} == {(low, high)}
    assert [axes.get_title() for axes in figure.axes if axes.images] == list(maps)


def test_colour_channels_stand_side_by_side(rng: np.random.Generator) -> None:
    figure = first_layer_figure({"a": rng.normal(size=(3, 3, 3)), "b": rng.normal(size=(28, 28))})
    titles = [axes.get_title() for axes in figure.axes if axes.images]
    assert titles == ["a, red", "a, green", "a, blue", "b"]


def test_signed_images_tell_the_sign_in_greyscale() -> None:
    figure = first_layer_figure({"ramp": np.linspace(-1, 1, 101)[None]})
    (image,) = (image for axes in figure.axes for image in axes.images)
    grey = image.cmap(np.linspace(0, 1, 101))[:, :3] @ [0.299, 0.587, 0.114]
    assert (np.diff(grey) > 0).all()


def test_kernels_are_a_sheet_per_network_with_shares_and_counts(rng: np.random.Generator) -> None:
    kernels = {name: common_kernels([sparse(rng, 0.2, 16, 16, 3, 3)]) for name in ("a", "b")}
    figure = kernel_sheet(kernels, top=5)
    for axes, (name, common) in zip(figure.axes, kernels.items(), strict=True):
        assert axes.get_title(loc="left") == f"{name} (256 kernels)"
        assert len(axes.collections) == 5
        assert axes.texts[0].get_text().endswith(f"%\n{common.counts[0]}")
    drawn(kernel_sheet(kernels, top=30))
    drawn(kernel_sheet({"wide": common_kernels([sparse(rng, 0.5, 4, 4, 2, 5)], (2, 5))}))


def test_feature_maps_share_a_scale_and_are_numbered(rng: np.random.Generator) -> None:
    maps = rng.random((7, 4, 5))
    axes, bar = feature_map_figure(maps, "conv").axes
    assert [text.get_text() for text in axes.texts] == [str(k) for k in range(7)]
    assert {image.get_clim() for image in axes.images} == {(maps.min(), maps.max())}
    assert bar.get_ylabel() == "response"


def test_patches_of_any_size_are_drawn_in_colour_or_grey(rng: np.random.Generator) -> None:
    patches = [rng.normal(size=(3, 5, 5)), rng.normal(size=(3, 2, 5)), rng.normal(size=(1, 3, 3))]
    (axes,) = patch_sheet(patches, "layer").axes
    assert [image.get_array().shape for image in axes.images] == [(5, 5, 3), (2, 5, 3), (3, 3)]
    colours = axes.images[0].get_array()
    assert 0 <= colours.min() <= colours.max() <= 1
