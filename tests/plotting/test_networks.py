import io

from matplotlib.collections import LineCollection
from PIL import Image

from sparsity.networks import FC
from sparsity.plotting.networks import networks_figure, networks_png
from sparsity.viewer.build import picture, pictures
from tests.viewer.networks import TINY, chain


def test_every_edge_is_a_line_and_every_column_has_its_name_and_counts() -> None:
    (axes,) = networks_figure({"net $x$": picture(chain(*TINY), (3,))}).axes
    lines = [len(c.get_segments()) for c in axes.collections if isinstance(c, LineCollection)]
    assert lines == [0, 2, 3]  # ties, on no path, on a path
    on_path = axes.collections[2]
    colours = on_path.get_colors()[:, 2] > 0.5  # blue, of those that are positive
    assert colours.tolist() == [True, True, False]  # 1, 3 and -2, as strong as they are within their layers
    words = [text.get_text() for text in axes.texts]
    assert words[:3] == ["input", "0\n33.3 %\n1 of 3", "2\n33.3 %\n1 of 2"]
    assert words[3] == "net $x$"


def test_the_image_is_the_same_twice_and_has_the_colours_of_signs() -> None:
    found = pictures({"a": FC((1, 5, 5), 3, depth=2, width=6), "b": FC((1, 5, 5), 3, depth=2, width=6)})
    content = networks_png(found)
    assert content == networks_png(found)
    image = Image.open(io.BytesIO(content)).convert("RGB")
    colours = {colour for _, colour in image.getcolors(maxcolors=256) or []}
    assert {(0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00), (0x3A, 0x44, 0x4E), (255, 255, 255)} <= colours
