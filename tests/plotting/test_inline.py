"""What a pointer finds in figures, and how they become parts of a page."""

import re
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import pytest

from sparsity.formatting import key
from sparsity.plotting.canvas import axis_scale
from sparsity.plotting.curves import accuracy_density_figure
from sparsity.plotting.files import figure_bytes
from sparsity.plotting.inline import inline_svg
from sparsity.plotting.lines import layer_lines_figure
from sparsity.plotting.matrices import matrix_figure
from sparsity.plotting.style import _COLOURS, tint
from sparsity.plotting.violins import violin_figure

pytestmark = pytest.mark.filterwarnings("error")

EVIL = '<script>"x" & id="y"</script>'


def inlined(figure, names: dict[str, str], prefix: str = "f1-", picture: bytes | None = None) -> Element:
    return ElementTree.fromstring(inline_svg(figure_bytes(figure, "svg"), prefix, names, "label", picture))


def tips(svg: Element) -> list[tuple[str, str]]:
    """Whose every mark is and what it says."""
    found = [element for element in svg.iter("rect") if element.get("class") == "tip"]
    return [(element.get("data-of", ""), element[0].text or "") for element in found]


def test_points_say_method_density_mean_deviation_and_number() -> None:
    # 0.8 and 0.9: mean 85 %, deviation sqrt(2 * 5^2) = 7.07.
    figure = accuracy_density_figure({"a": [(0.1, 0.8), (0.1, 0.9)], "b": [(0.02, 0.5)]})
    assert tips(inlined(figure, {"a": "a", "b": "b"})) == [
        ("a", "a at 10 %: 85.00 ± 7.07 % (n = 2)"),
        ("b", "b at 2 %: 50.00 % (n = 1)"),
    ]


def test_marks_lie_on_what_is_drawn() -> None:
    svg = inlined(layer_lines_figure({"a": {"x": 1.0, "y": 3.0, "z": float("nan")}}, "value"), {"a": "a"})
    marks = [element for element in svg.iter("rect") if element.get("class") == "tip"]
    middles = [[float(m.get(k, 0)) + float(m.get(size, 0)) / 2 for k, size in (("x", "width"), ("y", "height"))]
               for m in marks]  # fmt: skip
    drawn = [(float(use.get("x", 0)), float(use.get("y", 0)))
             for group in svg.iter("g") if group.get("data-of") == "a" for use in group.iter("use")]  # fmt: skip
    assert len(middles) == 2  # what is not a number is not drawn
    np.testing.assert_allclose(middles, drawn[:2], atol=0.11)


def test_violins_say_their_quartiles_and_hide_with_their_method() -> None:
    sample = np.arange(1.0, 6.0)  # quartiles 2, 3, 4
    svg = inlined(violin_figure({EVIL: {"fc": sample}, "b": {"fc": np.full(4, 7.0)}}, "value"), {EVIL: EVIL, "b": "b"})
    assert tips(svg) == [
        (key(EVIL), f"{EVIL}, fc: median 3, middle half 2 to 4, all 1 to 5 (n = 5)"),
        ("b", "b, fc: median 7, middle half 7 to 7, all 7 to 7 (n = 4)"),
    ]
    owned = {unquote(element.get("data-of", "")) for element in svg.iter("g")} - {""}
    assert owned == {EVIL, "b"}
    assert "script" not in {element.tag for element in svg.iter()}
    assert [element.get("data-layer") for element in svg.iter("rect") if element.get("class") == "slot"] == ["fc"]


def test_networks_belong_to_their_methods_and_cells_of_matrices_to_two_networks() -> None:
    figure = matrix_figure(np.array([[0.0, 0.25], [0.25, 0.0]]), ["n 1", "n2"], "IoU")
    svg = inlined(figure, {"n 1": "m", "n2": "other"})
    (cells,) = [element for element in svg.iter("rect") if element.get("class") == "cells"]
    assert (cells.get("data-names"), cells.get("data-cells")) == ("n%201 n2", "0.000 0.250 0.250 0.000")
    covers = [element.get("data-of") for element in svg.iter("rect") if element.get("class") == "cover"]
    assert covers == ["m", "other", "m", "other"]


def test_identifiers_are_unique_and_everything_referred_to_is_there() -> None:
    figure = violin_figure({name: {"fc": np.arange(9.0) + k} for k, name in enumerate("abc")}, "value")
    svgs = [inlined(figure, {}, prefix) for prefix in ("f1-", "f2-")]
    identifiers = [element.get("id") for svg in svgs for element in svg.iter() if element.get("id")]
    assert len(identifiers) == len(set(identifiers)) > 0
    text = "".join(ElementTree.tostring(svg, encoding="unicode") for svg in svgs)
    assert set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text)) != set()
    assert {a or b for a, b in re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text)} == set(identifiers)


def test_colours_are_variables_of_the_page_but_not_on_colours_of_their_own() -> None:
    svg = inlined(matrix_figure(np.array([[0.0, 1.0], [1.0, 0.0]]), ["a", "b"], "IoU"), {})
    numbers = [element for element in svg.iter("g") if element.get("class") == "on-colour"]
    assert [element[0].get("style", "").count("var(") for element in numbers] == [0] * 4
    rest = [element.get("style", "") for element in svg.iter("path")]
    assert all("var(--c-" in style for style in rest if "#" in style)


def test_of_a_large_drawing_a_picture_is_seen_and_marks_are_kept() -> None:
    figure = accuracy_density_figure({"a": [(0.1, 0.8)]})
    svg = inlined(figure, {"a": "a"}, picture=b"png")
    assert [element.tag for element in svg] == ["image", "rect"]
    assert tips(svg) == [("a", "a at 10 %: 80.00 % (n = 1)")]


def test_control_characters_in_names_do_not_break_a_page() -> None:
    with pytest.warns(UserWarning, match="Glyph 1 "):
        svg = inlined(accuracy_density_figure({"a\x01": [(0.1, 0.8)]}), {"a\x01": "a\x01"})
    assert [owner for owner, _ in tips(svg)] == ["a%01"]


def test_every_colour_of_methods_can_be_seen_on_a_dark_page() -> None:
    from pathlib import Path

    import sparsity.report

    css = (Path(sparsity.report.__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
    dark = dict(re.findall(r"--c-([0-9a-f]{6}): (#[0-9a-f]{6})", css))

    def luminance(colour: str) -> float:
        return float(np.dot([(int(colour[k : k + 2], 16) / 255) ** 2.2 for k in (1, 3, 5)], [0.2126, 0.7152, 0.0722]))

    for colour in _COLOURS:
        seen = dark.get(colour[1:].lower(), colour)
        assert (luminance(seen) + 0.05) / (luminance("#1b1f24") + 0.05) > 3
        pale = "".join(f"{round(255 * part):02x}" for part in tint(colour))
        assert pale in dark
        assert luminance(dark[pale]) < luminance(seen)


@pytest.mark.parametrize(
    ("values", "typical", "scale"),
    [
        ([1, 2, 3, 700], [2, 3], "log"),
        ([0, 2, 3, 700], [2, 3], "symlog"),
        ([0, 2, 3, 700], [0, 300], "linear"),
        ([0.01, 0.4, 0.6, 1], [0.4, 0.5], "linear"),
        ([2, 0.1], None, "log"),
        ([2, 1], None, "linear"),
        ([2, -0.1], None, "linear"),
        ([np.nan, np.inf], None, "linear"),
        ([], [], "linear"),
    ],
)
def test_axes_are_logarithmic_where_what_is_typical_would_lie_on_the_floor(
    values: list[float], typical: list[float] | None, scale: str
) -> None:
    assert axis_scale(np.array(values), None if typical is None else np.array(typical)) == scale
