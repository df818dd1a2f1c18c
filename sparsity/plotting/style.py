"""How figures look: sizes, type, colours and marks, the same whatever the caller's settings of matplotlib.

Networks differ in colour (Okabe and Ito's, safe for the colour-blind) and in marker, line style or hatch, so that
nothing is lost in greyscale; for the same reason images use a map that only ever grows lighter.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Literal, NamedTuple, ParamSpec, TypeVar

from matplotlib import colormaps, style
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

_COLOURS = ("#0072B2", "#E69F00", "#000000", "#D55E00", "#56B4E9", "#009E73", "#CC79A7")
_LINES: tuple[Literal["-", "--", "-.", ":"], ...] = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h", "p")
_HATCHES = ("", "////", "\\\\\\\\", "xxxx", "----", "++++", "||||", "//--", "\\\\--", "//||", "\\\\||", "xx--")
"""Of lines: dots and rings would be thousands of curves in every file."""


WIDTH = 7.0  # inches: the text of a page
DPI = 150  # hinting makes text a little wider at some resolutions: laid out and saved at the same
FONT = 8.0  # points
SMALL = 7.0
STYLE = {
    "font.size": FONT,
    "axes.labelsize": FONT,
    "axes.titlesize": FONT,
    "axes.titley": 1.0,  # where it always is; by itself matplotlib would look for ticks above the axes
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
}

_Kind = TypeVar("_Kind")
_P = ParamSpec("_P")


class Look(NamedTuple):
    """What tells one network from the others."""

    colour: str
    line: Literal["-", "--", "-.", ":"]
    marker: str
    hatch: str


# For images with a sign: lightness grows evenly from the most negative to the most positive, and keeps it in greyscale.
SIGNED = LinearSegmentedColormap.from_list(
    "signed",
    [
        (0.0, "#04123C"),
        (0.25, "#17479E"),
        (0.45, "#5D7BA8"),
        (0.5, "#8C8C8C"),
        (0.55, "#AE9C62"),
        (0.75, "#EDBB22"),
        (1.0, "#FFFBD0"),
    ],
)


def figure_in_style(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Let a function draw in our style, and lay its figure out once and for all.

    The figure never has a layout engine of its own: one would start from the last layout and shift with every drawing,
    and makes matplotlib draw twice for every file.
    """

    @wraps(draw)
    def drawn(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        with style.context(["default", STYLE]):
            figure = draw(*args, **kwargs)
            _fix_idle_labels(figure)
            if any(axes.get_subplotspec() for axes in figure.axes):  # others were placed by hand
                # The engine underestimates long tick labels by a few pixels; its default padding would not absorb that.
                ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06).execute(figure)
        return figure

    return drawn


def _fix_idle_labels(figure: Figure) -> None:
    """Give a place to labels without text: matplotlib looks for one among all ticks, which takes half of a layout."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if not axis.get_label_text():
                axis.set_label_coords(0, 0)


_together: ContextVar[tuple[str, ...]] = ContextVar("together", default=())


@contextmanager
def looking_alike(names: Iterable[str]) -> Iterator[None]:
    """Within it each of these networks looks the same in all figures, also where others of them are missing."""
    before = _together.set(tuple(names))
    try:
        yield
    finally:
        _together.reset(before)


def looks(names: Iterable[str]) -> list[Look]:
    """The looks of a figure's networks: by their places within `looking_alike` if all are known there, else here."""
    own = list(names)
    order = together if set(own) <= set(together := _together.get()) else own
    return [look_of(order.index(name)) for name in own]


def look_of(number: int) -> Look:
    """The look of the network at a place, from 0."""
    return Look(_nth(_COLOURS, number), _nth(_LINES, number), _nth(_MARKERS, number), _nth(_HATCHES, number))


def _nth(kinds: tuple[_Kind, ...], number: int) -> _Kind:
    return kinds[number % len(kinds)]


def tint(colour: str) -> tuple[float, float, float]:
    """A pale form of a colour `#rrggbb`, to fill what has an edge of that colour."""
    # Mixed with white instead of translucent: SVG files would lose the hatches.
    red, green, blue = (1 - 0.35 * (1 - int(colour[k : k + 2], 16) / 255) for k in (1, 3, 5))
    return red, green, blue


def value_colours() -> Colormap:
    """The map of values without a sign, light where they are high."""
    return colormaps["cividis"].with_extremes(bad="0.85")
